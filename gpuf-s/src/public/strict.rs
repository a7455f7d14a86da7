//! What an HTTP/1.1 library forgives and a gateway must not: heads and chunks that another hop might
//! read differently. Pure: bytes in, verdicts out.
//!
//! Two readers that disagree about where a request ends let one caller write another's request. So
//! only the forms that everybody reads the same way pass (RFC 9112, sections 2.2, 3.2, 5 and 6.3).

mod chunks;
mod head;

use chunks::Chunks;
use memchr::memmem;

/// Why a connection's bytes are refused. It is answered once and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP as everybody reads it.
    #[error("malformed request")]
    Malformed,
    /// Too many, too long or too large headers.
    #[error("request headers are too large")]
    HeadTooLarge,
    /// A request target over its limit.
    #[error("the request target is too long")]
    TargetTooLong,
}

/// Bounds of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes in all.
    pub bytes_max: usize,
    /// Bytes of the target.
    pub target_bytes_max: usize,
}

/// Header lines of one request.
const HEADERS_MAX: usize = 100;
/// Bytes of one header line.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Reader {
    limits: HeadLimits,
    state: State,
    head: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunks),
}

/// What may be passed on of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// These bytes as they are; look again at the rest.
    Pass(&'a [u8]),
    /// A head that came in pieces and is complete; `consumed` bytes of the input belong to it.
    Head {
        /// The whole head.
        head: Vec<u8>,
        /// Bytes of the input.
        consumed: usize,
    },
    /// All bytes were taken; the head is not complete.
    More,
}

impl Reader {
    /// At the beginning of a connection.
    pub const fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head, head: Vec::new() }
    }

    /// Whether a head has begun and is not complete.
    pub const fn is_amid_head(&self) -> bool {
        !self.head.is_empty()
    }

    /// Whether the body of a request is under way.
    pub const fn is_amid_body(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Whether the next byte begins a request.
    pub const fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// Takes bytes as they came.
    ///
    /// # Errors
    /// When the connection must be refused.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Refusal> {
        match &mut self.state {
            State::Head => self.read_head(input),
            State::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::Head;
                }
                Ok(Step::Pass(&input[..count]))
            }
            State::Chunked(chunks) => {
                let (count, ended) = chunks.read(input)?;
                if ended {
                    self.state = State::Head;
                }
                Ok(Step::Pass(&input[..count]))
            }
        }
    }

    fn read_head<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Refusal> {
        if self.head.is_empty() {
            // A lone CRLF between requests is allowed by the RFC and sent by nobody: refused.
            if let Some(end) = head_end(input, 0) {
                self.take_head(&input[..end])?;
                return Ok(Step::Pass(&input[..end]));
            }
        }
        let (before, searched) = (self.head.len(), self.head.len().saturating_sub(3));
        self.head.extend_from_slice(input);
        let Some(end) = head_end(&self.head, searched) else {
            return self.refuse_early().map(|()| Step::More);
        };
        let mut head = std::mem::take(&mut self.head);
        head.truncate(end);
        self.take_head(&head)?;
        Ok(Step::Head { consumed: end - before, head })
    }

    fn take_head(&mut self, head: &[u8]) -> Result<(), Refusal> {
        self.state = match head::check(head, self.limits)? {
            Framing::None | Framing::Length(0) => State::Head,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::Chunked(Chunks::default()),
        };
        Ok(())
    }

    /// What cannot become a head is refused before more of it is taken in.
    fn refuse_early(&self) -> Result<(), Refusal> {
        head::check_bytes(&self.head)?;
        let line_end = memchr::memchr(b'\n', &self.head);
        if line_end.is_none() && self.head.len() > self.limits.target_bytes_max + 64 {
            return Err(Refusal::TargetTooLong);
        }
        if self.head.len() > self.limits.bytes_max { Err(Refusal::HeadTooLarge) } else { Ok(()) }
    }
}

fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

#[cfg(test)]
mod tests;
