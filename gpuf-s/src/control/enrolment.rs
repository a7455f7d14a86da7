//! A machine that has a token and no certificate yet.

use std::{net::SocketAddr, time::Duration};

use common::{
    codec::{self, Decoder},
    message::Enrol,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::{Error, Shared};
use crate::store::UnixSeconds;

const ENROLMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the one message, answers it and closes.
pub async fn serve(shared: &Shared, stream: TlsStream<TcpStream>, from: SocketAddr) -> Result<(), Error> {
    timeout(ENROLMENT_TIMEOUT, exchange(shared, stream, from)).await.map_err(|_| Error::Timeout)?
}

async fn exchange(shared: &Shared, mut stream: TlsStream<TcpStream>, from: SocketAddr) -> Result<(), Error> {
    debug!(%from, "a machine enrols");
    let asked = read(&mut stream).await?;
    let answer = crate::auth::enrol(&shared.store, &shared.ca, &asked, UnixSeconds::now()).await;
    stream.write_all(&codec::encode(&answer)?).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn read(stream: &mut TlsStream<TcpStream>) -> Result<Enrol, Error> {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 2048];
    loop {
        if let Some(message) = decoder.next_message()? {
            return Ok(message);
        }
        match stream.read(&mut bytes).await? {
            0 => return Err(Error::Closed),
            count => decoder.push(&bytes[..count]),
        }
    }
}
