//! One HTTP/1.1 connection: heads, bodies and pauses on a raw socket, so that a script can break every rule.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const HEAD_BYTES_MAX: usize = 128 * 1024;
const HEADERS_MAX: usize = 128;
const READ_BYTES: usize = 64 * 1024;
/// Bytes read ahead while an answer is under way; past it the peer's close is seen only by a write.
const AHEAD_BYTES_MAX: usize = 256 * 1024;
/// The longest line of a chunked body that is looked at.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// A longer body is counted to its end, and only its beginning is kept.
pub(crate) const BODY_KEPT_MAX: usize = 64 * 1024 * 1024;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the peer is gone")]
    Gone(#[from] io::Error),
    #[error("this is no HTTP/1.1 request")]
    Malformed,
}

impl Error {
    pub(crate) fn closed() -> Self {
        Self::Gone(io::ErrorKind::UnexpectedEof.into())
    }
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl Framing {
    /// Whether there is no body.
    pub(crate) const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// A request head: its bytes, and what the engine needs of them.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) raw: Bytes,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) websocket_key: Option<String>,
}

impl Head {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Names and values as sent.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut slots);
        if request.parse(&self.raw).is_err() {
            return Vec::new();
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        request.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect()
    }
}

/// The body of a request: its beginning, and how long it was.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) kept: Bytes,
    pub(crate) len: u64,
}

/// A connection and what was read ahead on it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(4 * 1024) }
    }

    /// The socket and the bytes read ahead, for a protocol other than HTTP.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer.to_vec())
    }

    /// What was read and not yet understood.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// The next request head, or `None` if the peer closed between requests.
    pub(crate) async fn read_head(&mut self) -> Result<Option<Head>, Error> {
        loop {
            if let Some(head) = take_head(&mut self.buffer)? {
                return Ok(Some(head));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Error::Malformed);
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(Error::closed()) };
            }
        }
    }

    /// Reads the body to its end, keeping at most `BODY_KEPT_MAX` bytes of it.
    pub(crate) async fn read_body(&mut self, framing: Framing) -> Result<Body, Error> {
        match framing {
            Framing::None => Ok(Body::default()),
            Framing::Length(length) => {
                // The usual request arrives with its head: no copy.
                if let Ok(short) = usize::try_from(length)
                    && self.buffer.len() >= short
                {
                    return Ok(Body { kept: self.buffer.split_to(short).freeze(), len: length });
                }
                let mut sink = Sink::default();
                self.take(length, &mut sink).await?;
                Ok(sink.done())
            }
            Framing::Chunked => self.read_chunked().await,
        }
    }

    /// Writes all of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Waits until then, or fails as soon as the peer goes.
    pub(crate) async fn pause_until(&mut self, then: Instant) -> Result<(), Error> {
        if then <= Instant::now() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep_until(then) => Ok(()),
            gone = self.peer_leaves() => Err(gone),
        }
    }

    /// Waits for the peer to go, reading ahead meanwhile.
    pub(crate) async fn peer_leaves(&mut self) -> Error {
        loop {
            if self.buffer.len() >= AHEAD_BYTES_MAX {
                return std::future::pending().await;
            }
            match self.fill().await {
                Ok(0) => return Error::closed(),
                Ok(_) => {}
                Err(gone) => return gone,
            }
        }
    }

    /// Tells the peer that nothing follows, so that what was written is read before the close.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        Ok(self.stream.shutdown().await?)
    }

    async fn fill(&mut self) -> Result<usize, Error> {
        self.buffer.reserve(4 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await?)
    }

    async fn take(&mut self, length: u64, sink: &mut Sink) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.buffer.reserve(READ_BYTES);
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(Error::closed());
                }
            }
            let here = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink.push(&self.buffer[..here]);
            self.buffer.advance(here);
            left -= here as u64;
        }
        Ok(())
    }

    async fn read_chunked(&mut self) -> Result<Body, Error> {
        let mut sink = Sink::default();
        loop {
            let line = self.read_line().await?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let text = std::str::from_utf8(digits).map_err(|_| Error::Malformed)?.trim();
            let size = u64::from_str_radix(text, 16).map_err(|_| Error::Malformed)?;
            if size == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(sink.done());
            }
            self.take(size, &mut sink).await?;
            if !self.read_line().await?.is_empty() {
                return Err(Error::Malformed);
            }
        }
    }

    async fn read_line(&mut self) -> Result<Bytes, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                return line.strip_suffix(b"\r\n").map(|text| line.slice_ref(text)).ok_or(Error::Malformed);
            }
            if self.buffer.len() > CHUNK_LINE_BYTES_MAX {
                return Err(Error::Malformed);
            }
            if self.fill().await? == 0 {
                return Err(Error::closed());
            }
        }
    }
}

#[derive(Default)]
struct Sink {
    kept: Vec<u8>,
    len: u64,
}

impl Sink {
    fn push(&mut self, bytes: &[u8]) {
        let room = BODY_KEPT_MAX - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.len += bytes.len() as u64;
    }

    fn done(self) -> Body {
        Body { kept: self.kept.into(), len: self.len }
    }
}

fn take_head(buffer: &mut BytesMut) -> Result<Option<Head>, Error> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Error::Malformed),
    };
    let mut head = Head {
        raw: Bytes::new(),
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        framing: Framing::None,
        keep_alive: request.version == Some(1),
        expects_continue: false,
        content_type: None,
        websocket_key: None,
    };
    for header in request.headers.iter() {
        note_header(&mut head, header.name, header.value)?;
    }
    head.raw = buffer.split_to(length).freeze();
    Ok(Some(head))
}

fn note_header(head: &mut Head, name: &str, value: &[u8]) -> Result<(), Error> {
    let has = |word: &str| value.len() >= word.len() && contains(value, word);
    let text = || Some(String::from_utf8_lossy(value).into_owned());
    if name.eq_ignore_ascii_case("content-length") {
        let length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
        let length = length.ok_or(Error::Malformed)?;
        if head.framing != Framing::None {
            return Err(Error::Malformed);
        }
        head.framing = Framing::Length(length);
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        if head.framing != Framing::None || !has("chunked") {
            return Err(Error::Malformed);
        }
        head.framing = Framing::Chunked;
    } else if name.eq_ignore_ascii_case("connection") {
        head.keep_alive = (head.keep_alive || has("keep-alive")) && !has("close");
    } else if name.eq_ignore_ascii_case("expect") {
        head.expects_continue = has("100-continue");
    } else if name.eq_ignore_ascii_case("content-type") {
        head.content_type = text();
    } else if name.eq_ignore_ascii_case("sec-websocket-key") {
        head.websocket_key = text();
    }
    Ok(())
}

fn contains(value: &[u8], word: &str) -> bool {
    value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// The usual reason phrase.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
