//! Whole messages over TLS.

use std::{io, time::Duration};

use common::{
    codec::{self, Decoder},
    message::{AgentMessage, ServerMessage},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::Error;

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 4096;

/// The socket of a session.
pub struct Wire {
    stream: TlsStream<TcpStream>,
    decoder: Decoder<ServerMessage>,
}

impl Wire {
    /// After the handshake.
    pub fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The next message. Dropping the future loses nothing: what was read is in the decoder.
    pub async fn receive(&mut self) -> Result<ServerMessage, Error> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let mut bytes = [0; READ_BYTES];
            match self.stream.read(&mut bytes).await {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => self.decoder.push(&bytes[..count]),
                // A killed server says no goodbye; that is an end like any other.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Error::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a message within a deadline.
    pub async fn send(&mut self, message: &AgentMessage) -> Result<(), Error> {
        let frame = codec::encode(message)?;
        let write = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        Ok(timeout(WRITE_TIMEOUT, write).await.map_err(|_| Error::Timeout)??)
    }

    /// Says goodbye.
    pub async fn close(&mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }
}
