//! One HTTP/1.1 exchange with an engine, in the stream's own task.
//!
//! A client library would put a task and two channels between an engine's socket and the stream that
//! waits for it; at one small event every few milliseconds per stream, those are most of the cost.

mod head;
mod reader;

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::timeout,
};

use super::upload::{CutShort, Pieces, Upload};
use head::Answered;
use reader::Reader;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Read at once, at first; twice as much whenever a read filled it, up to the second.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;
/// A body up to this size leaves in one write with its head.
const JOINED_BODY_BYTES_MAX: usize = 16 * 1024;

/// Why an engine gave no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It takes no connections, or the connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// It took no connection in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// It closed before its answer was complete.
    #[error("closed in the middle")]
    Closed,
    /// What came was not HTTP.
    #[error("not HTTP")]
    BadAnswer,
    /// The request's own body ended early.
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

/// A connection to an engine.
#[derive(Debug)]
pub struct Exchange {
    tcp: TcpStream,
    buffer: BytesMut,
    read_bytes: usize,
    reader: Reader,
    reusable: bool,
}

/// A request as it goes to an engine.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// All headers, `Host` included; a length or coding of the body is added where it lacks.
    pub headers: &'a HeaderMap,
}

impl Exchange {
    /// A fresh connection.
    pub async fn dial(address: SocketAddr) -> Result<Self, Error> {
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let tcp = tcp.map_err(|_| Error::ConnectTimeout)??;
        tcp.set_nodelay(true)?;
        let reader = Reader::ended();
        Ok(Self { tcp, buffer: BytesMut::new(), read_bytes: READ_BYTES_MIN, reader, reusable: false })
    }

    /// Whether the engine has closed it, or said something unasked, while nobody used it.
    pub fn is_stale(&self) -> bool {
        let read = self.tcp.try_read(&mut [0]);
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and reads the head of its answer. A body that the engine does not wait for
    /// stays where it is.
    pub async fn ask(&mut self, request: &Outgoing<'_>, body: &mut Upload) -> Result<response::Parts, Error> {
        let (mut reads, mut writes) = self.tcp.split();
        let mut incoming = Incoming { buffer: &mut self.buffer, read_bytes: &mut self.read_bytes };
        let (answered, sent) = match body {
            Upload::Whole(bytes) => {
                send_whole(&mut writes, request, bytes).await?;
                (incoming.head(&mut reads).await?, true)
            }
            Upload::Pieces(pieces) => {
                incoming.head_while_sending(&mut reads, &mut writes, request, pieces).await?
            }
        };
        let Answered { parts, reader, keep_alive } = answered;
        self.reader = reader;
        self.reusable = keep_alive && sent;
        Ok(parts)
    }

    /// The next bytes of the answer's body, or `None` at its end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(bytes) = self.reader.take(&mut self.buffer)? {
                return Ok(Some(bytes));
            }
            if self.reader.is_ended() {
                return Ok(None);
            }
            let (mut reads, _) = self.tcp.split();
            let mut incoming = Incoming { buffer: &mut self.buffer, read_bytes: &mut self.read_bytes };
            if incoming.fill(&mut reads).await? == 0 {
                return self.reader.close().map(|()| None);
            }
        }
    }

    /// Whether nothing follows what [`Self::next`] has given.
    pub fn is_ended(&self) -> bool {
        self.reader.is_ended()
    }

    /// Whether another request may follow on it.
    pub fn is_reusable(&self) -> bool {
        self.reusable && self.reader.is_ended() && self.buffer.is_empty() && !self.reader.ends_by_close()
    }
}

async fn send_whole(writes: &mut WriteHalf<'_>, request: &Outgoing<'_>, body: &Bytes) -> Result<(), Error> {
    let mut head = head::encode(request, head::BodyLength::Known(body.len()));
    if body.len() <= JOINED_BODY_BYTES_MAX {
        head.extend_from_slice(body);
        writes.write_all(&head).await?;
    } else {
        writes.write_all(&head).await?;
        writes.write_all(body).await?;
    }
    Ok(())
}

async fn send_pieces(
    writes: &mut WriteHalf<'_>,
    request: &Outgoing<'_>,
    pieces: &mut Pieces,
) -> Result<(), Error> {
    let chunked = !request.headers.contains_key(http::header::CONTENT_LENGTH);
    writes.write_all(&head::encode(request, head::BodyLength::Unknown)).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        match chunked {
            true if piece.is_empty() => {}
            true => {
                writes.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                writes.write_all(&piece).await?;
                writes.write_all(b"\r\n").await?;
            }
            false => writes.write_all(&piece).await?,
        }
    }
    if chunked {
        writes.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

/// What has come of an answer.
struct Incoming<'a> {
    buffer: &'a mut BytesMut,
    read_bytes: &'a mut usize,
}

impl Incoming<'_> {
    /// The head of the answer, interim ones passed over.
    async fn head(&mut self, reads: &mut ReadHalf<'_>) -> Result<Answered, Error> {
        loop {
            if let Some(answered) = head::decode(self.buffer)? {
                return Ok(answered);
            }
            if self.fill(reads).await? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    /// The same while the body is being sent; and whether all of it was sent by then.
    async fn head_while_sending(
        &mut self,
        reads: &mut ReadHalf<'_>,
        writes: &mut WriteHalf<'_>,
        request: &Outgoing<'_>,
        pieces: &mut Pieces,
    ) -> Result<(Answered, bool), Error> {
        let sending = send_pieces(writes, request, pieces);
        let answering = self.head(reads);
        tokio::pin!(sending, answering);
        tokio::select! {
            answered = answering.as_mut() => return Ok((answered?, false)),
            result = sending.as_mut() => match result {
                Ok(()) => {}
                // An engine that answers early may stop reading: what it says still counts.
                Err(Error::Io(_)) => return Ok((answering.await?, false)),
                Err(error) => return Err(error),
            },
        }
        Ok((answering.await?, true))
    }

    async fn fill(&mut self, reads: &mut ReadHalf<'_>) -> Result<usize, Error> {
        self.buffer.reserve(*self.read_bytes);
        let count = reads.read_buf(self.buffer).await?;
        if count >= *self.read_bytes {
            *self.read_bytes = (*self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
