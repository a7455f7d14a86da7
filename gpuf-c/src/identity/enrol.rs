//! From a join string to an identity.

use std::{io, sync::Arc, time::Duration};

use common::{
    AgentId,
    codec::{self, Decoder},
    join::JoinString,
    message::{Enrol, Enrolled, TEXT_BYTES_MAX},
    tls,
    tunnel::ALPN_ENROL,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Error, Identity, Renewal, server_name};
use crate::bounded::shortened;

/// For each step: connecting, the handshake, the answer.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 8 * 1024;

/// Asks the server of `join` for an identity, under `name` for people, and with a certain id if wanted.
///
/// # Errors
/// When the server cannot be reached, is not the one of the join string, or refuses.
pub async fn enrol(join: &JoinString, name: &str, wanted_id: Option<AgentId>) -> Result<Identity, Error> {
    let mut stream = connect(join).await?;
    let authority = authority(&stream, join)?;
    let Renewal { request_der, key } = Renewal::new()?;
    let name = shortened(name, TEXT_BYTES_MAX);
    let request = Enrol { token: join.token.clone(), request_der, name, wanted_id };
    let answer = in_time(&join.server, ask(&mut stream, &request)).await??;
    match answer {
        Enrolled::Refused { reason } => Err(Error::Refused(reason)),
        Enrolled::Accepted { agent_id, chain_der } => {
            let chain = chain_der.into_iter().map(CertificateDer::from).collect();
            let identity = Identity::assemble(join.server.clone(), key, chain, authority)?;
            let same = identity.agent_id == agent_id && wanted_id.is_none_or(|wanted| wanted == agent_id);
            if same { Ok(identity) } else { Err(Error::BadAnswer("a certificate for another agent")) }
        }
    }
}

async fn connect(join: &JoinString) -> Result<TlsStream<TcpStream>, Error> {
    let server = &join.server;
    let name = server_name(server)?;
    let connector = TlsConnector::from(Arc::new(tls::enrolment_config(join.fingerprint, ALPN_ENROL)?));
    let tcp = in_time(server, TcpStream::connect(server)).await?;
    let tcp = tcp.map_err(|error| Error::Unreachable { server: server.clone(), error })?;
    let shaken = in_time(server, connector.connect(name, tcp)).await?;
    shaken.map_err(|error| Error::NotTrusted { server: server.clone(), error })
}

/// The certificate that the join string vouches for: the handshake has proven that it is there.
fn authority(stream: &TlsStream<TcpStream>, join: &JoinString) -> Result<CertificateDer<'static>, Error> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let pinned =
        tls::pinned(chain, join.fingerprint).ok_or(Error::BadAnswer("its authority is not shown"))?;
    Ok(pinned.clone().into_owned())
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &Enrol) -> Result<Enrolled, Error> {
    let frame = codec::encode(request).map_err(|_| Error::BadAnswer("a request that is too long"))?;
    let broke = |_: io::Error| Error::BadAnswer("the connection broke");
    stream.write_all(&frame).await.map_err(broke)?;
    stream.flush().await.map_err(broke)?;
    let mut decoder = Decoder::<Enrolled>::default();
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = stream.read(&mut bytes).await.map_err(broke)?;
        decoder.push(&bytes[..count]);
        match decoder.next_message() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if count > 0 => {}
            Ok(None) => return Err(Error::BadAnswer("it ended without one")),
            Err(_) => return Err(Error::BadAnswer("it does not decode")),
        }
    }
}

async fn in_time<T>(server: &str, step: impl Future<Output = T>) -> Result<T, Error> {
    timeout(STEP_TIMEOUT, step).await.map_err(|_| Error::Timeout(server.to_owned()))
}
