//! HTTP/1.1 as the engine and the load generator read it: a head, then a body by its framing.

use anyhow::{Context, Result, bail, ensure};
use memchr::{memchr, memmem};

/// The longest head that either side accepts.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What the rest of the program needs of a message's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The request line or status line, without its line end.
    pub first_line: &'a str,
    /// Bytes up to and with the empty line.
    pub bytes: usize,
    pub framing: Option<Framing>,
    /// The peer said `Connection: close`.
    pub closes: bool,
}

impl Head<'_> {
    pub fn status(&self) -> Result<u16> {
        let status = self.first_line.split(' ').nth(1).context("a status line without a status")?;
        status.parse().with_context(|| format!("bad status {status:?}"))
    }
}

/// Reads a head from the start of `input`; `None` while it is incomplete.
pub fn read_head(input: &[u8]) -> Result<Option<Head<'_>>> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else {
        ensure!(input.len() < HEAD_BYTES_MAX, "a head of more than {HEAD_BYTES_MAX} bytes");
        return Ok(None);
    };
    let text = std::str::from_utf8(&input[..end]).context("a head that is not text")?;
    let mut lines = text.split("\r\n");
    let first_line = lines.next().unwrap_or_default();
    let mut head = Head { first_line, bytes: end + 4, framing: None, closes: false };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { bail!("bad header line {line:?}") };
        note_header(&mut head, name, value.trim())?;
    }
    Ok(Some(head))
}

fn note_header(head: &mut Head<'_>, name: &str, value: &str) -> Result<()> {
    if name.eq_ignore_ascii_case("content-length") {
        head.framing = Some(Framing::Length(value.parse().context("bad Content-Length")?));
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        ensure!(value.eq_ignore_ascii_case("chunked"), "unknown transfer encoding {value:?}");
        head.framing = Some(Framing::Chunked);
    } else if name.eq_ignore_ascii_case("connection") {
        head.closes = value.eq_ignore_ascii_case("close");
    }
    Ok(())
}

/// A body that is being read; it takes bytes in any split.
#[derive(Debug)]
pub struct Body {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize {
        size: u64,
        in_extension: bool,
    },
    ChunkData(u64),
    /// The line end after a chunk's data.
    ChunkEnd,
    /// The lines after the last chunk; the body ends with the empty one.
    Trailer {
        line_bytes: u64,
    },
    Done,
}

impl Body {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize { size: 0, in_extension: false },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Hands the body's bytes in `input` to `sink`; returns how much of `input` belonged to this message.
    pub fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            at += self.step(&input[at..], &mut sink)?;
        }
        Ok(at)
    }

    /// The peer closed: an end for a body that lasts until then, a failure for every other.
    pub fn close(&mut self) -> Result<()> {
        ensure!(matches!(self.state, State::UntilClose | State::Done), "closed in the middle of a body");
        self.state = State::Done;
        Ok(())
    }

    fn step(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize> {
        match self.state {
            State::Done => return Ok(0),
            State::UntilClose => {
                sink(input);
                return Ok(input.len());
            }
            State::Length(left) => {
                let taken = take(input, left, sink);
                self.state = if taken == left { State::Done } else { State::Length(left - taken) };
                return Ok(taken as usize);
            }
            State::ChunkData(left) => {
                let taken = take(input, left, sink);
                self.state = if taken == left { State::ChunkEnd } else { State::ChunkData(left - taken) };
                return Ok(taken as usize);
            }
            State::ChunkEnd => return self.skip_line_end(input),
            State::ChunkSize { size, in_extension } => self.size_byte(input[0], size, in_extension)?,
            State::Trailer { line_bytes } => self.state = after_trailer_byte(input[0], line_bytes),
        }
        Ok(1)
    }

    fn size_byte(&mut self, byte: u8, size: u64, in_extension: bool) -> Result<()> {
        self.state = match byte {
            b'\n' if size == 0 => State::Trailer { line_bytes: 0 },
            b'\n' => State::ChunkData(size),
            b'\r' | b';' => State::ChunkSize { size, in_extension: true },
            _ if in_extension => State::ChunkSize { size, in_extension },
            _ => {
                let digit = char::from(byte).to_digit(16).context("bad chunk size")?;
                let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
                State::ChunkSize { size: size.context("a chunk size beyond 64 bits")?, in_extension }
            }
        };
        Ok(())
    }

    fn skip_line_end(&mut self, input: &[u8]) -> Result<usize> {
        let Some(end) = memchr(b'\n', input) else {
            ensure!(input == b"\r", "bytes after a chunk's data");
            return Ok(1);
        };
        ensure!(matches!(&input[..end], b"" | b"\r"), "bytes after a chunk's data");
        self.state = State::ChunkSize { size: 0, in_extension: false };
        Ok(end + 1)
    }
}

fn after_trailer_byte(byte: u8, line_bytes: u64) -> State {
    match byte {
        b'\n' if line_bytes == 0 => State::Done,
        b'\n' => State::Trailer { line_bytes: 0 },
        b'\r' => State::Trailer { line_bytes },
        _ => State::Trailer { line_bytes: line_bytes + 1 },
    }
}

fn take(input: &[u8], left: u64, sink: &mut impl FnMut(&[u8])) -> u64 {
    let taken = left.min(input.len() as u64);
    sink(&input[..taken as usize]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_pieces(framing: Framing, wire: &[u8], piece_bytes: usize) -> Vec<u8> {
        let mut body = Body::new(framing);
        let mut read = Vec::new();
        for piece in wire.chunks(piece_bytes) {
            assert_eq!(body.feed(piece, |part| read.extend_from_slice(part)).unwrap(), piece.len());
        }
        assert!(body.is_done());
        read
    }

    #[test]
    fn a_chunked_body_is_the_same_in_any_split() {
        let wire = b"5\r\nhello\r\n1;name=value\r\n \r\n00A\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
        for piece_bytes in 1..=wire.len() {
            assert_eq!(read_in_pieces(Framing::Chunked, wire, piece_bytes), b"hello 0123456789");
        }
    }

    #[test]
    fn a_body_with_a_length_leaves_what_follows() {
        let mut body = Body::new(Framing::Length(5));
        let mut read = Vec::new();
        assert_eq!(body.feed(b"helloHTTP/1.1", |part| read.extend_from_slice(part)).unwrap(), 5);
        assert_eq!((read.as_slice(), body.is_done()), (b"hello".as_slice(), true));
    }

    #[test]
    fn a_close_ends_only_the_body_that_lasts_until_then() {
        assert!(Body::new(Framing::UntilClose).close().is_ok());
        assert!(Body::new(Framing::Chunked).close().is_err());
        assert!(Body::new(Framing::Length(1)).close().is_err());
    }

    #[test]
    fn bytes_after_a_chunk_are_an_error() {
        assert!(Body::new(Framing::Chunked).feed(b"1\r\nabc\r\n", |_| {}).is_err());
        assert!(Body::new(Framing::Chunked).feed(b"g\r\n", |_| {}).is_err());
    }

    #[test]
    fn a_head_gives_status_framing_and_close() {
        let wire = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\nConnection: Close\r\n\r\nbody";
        let head = read_head(wire).unwrap().unwrap();
        assert_eq!(head.status().unwrap(), 200);
        assert_eq!((head.framing, head.closes), (Some(Framing::Length(12)), true));
        assert_eq!(&wire[head.bytes..], b"body");
    }

    #[test]
    fn a_head_is_awaited_and_bounded() {
        assert_eq!(read_head(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        assert!(read_head(&vec![b'x'; HEAD_BYTES_MAX]).is_err());
    }
}
