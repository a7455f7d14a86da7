//! Cuts a stream of bytes at its event boundaries, so that nobody gets half an event. Pure.

use bytes::{Bytes, BytesMut};

/// An event that is longer than this ends the stream: nothing honest sends one, and it must be held whole.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// How events end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Server-sent events: an empty line.
    Sse,
    /// One JSON value a line.
    Ndjson,
}

/// An event is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Holds what has come of an event until the rest is there.
#[derive(Debug)]
pub struct Splitter {
    format: Format,
    pending: BytesMut,
}

impl Splitter {
    /// At the beginning of a stream.
    pub fn new(format: Format) -> Self {
        Self { format, pending: BytesMut::new() }
    }

    /// Takes bytes as they came; all events that are complete with them, as one run of bytes.
    ///
    /// Without a pending part and with whole events, which is how engines write, nothing is copied.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn push(&mut self, mut bytes: Bytes) -> Result<Bytes, TooLong> {
        if self.pending.is_empty() {
            let whole = bytes.split_to(self.format.last_end(&bytes, 0));
            self.pending.extend_from_slice(&bytes);
            return self.bounded(whole);
        }
        // A boundary is at most four bytes long, three of which may have been there.
        let searched = self.pending.len().saturating_sub(3);
        self.pending.extend_from_slice(&bytes);
        let end = self.format.last_end(&self.pending, searched);
        let whole = self.pending.split_to(end).freeze();
        self.bounded(whole)
    }

    /// What came after the last boundary, at the end of the stream.
    pub fn finish(&mut self) -> Bytes {
        self.pending.split().freeze()
    }

    fn bounded(&self, whole: Bytes) -> Result<Bytes, TooLong> {
        if self.pending.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(whole) }
    }
}

impl Format {
    /// Just behind the last boundary in `bytes` that ends after `from`, or 0.
    fn last_end(self, bytes: &[u8], from: usize) -> usize {
        match self {
            Self::Ndjson => memchr::memrchr(b'\n', &bytes[from..]).map_or(0, |at| from + at + 1),
            Self::Sse => {
                let mut ends = memchr::memrchr2_iter(b'\n', b'\r', &bytes[from..]).map(|at| from + at + 1);
                ends.find(|&end| ends_event(&bytes[..end])).unwrap_or(0)
            }
        }
    }

    /// The first event of `bytes` and what follows it.
    pub fn first_event(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        if bytes.is_empty() {
            return None;
        }
        let end = match self {
            Self::Ndjson => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1),
            Self::Sse => {
                let mut ends = memchr::memchr2_iter(b'\n', b'\r', bytes).map(|at| at + 1);
                ends.find(|&end| ends_event(&bytes[..end])).unwrap_or(bytes.len())
            }
        };
        Some(bytes.split_at(end))
    }
}

/// Just behind the first `[DONE]` event of a run of whole events.
pub fn done_end(run: &[u8]) -> Option<usize> {
    // Most runs do not have one: one search is cheaper than a look at each event.
    memchr::memmem::find(run, b"[DONE]")?;
    let mut at = 0;
    while let Some((event, _)) = Format::Sse.first_event(&run[at..]) {
        at += event.len();
        if matches!(event.trim_ascii(), b"data: [DONE]" | b"data:[DONE]") {
            return Some(at);
        }
    }
    None
}

/// Whether `bytes` end with an empty line, of whichever kind.
fn ends_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\r\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(wire: &[u8], size: usize, format: Format) -> Vec<Bytes> {
        let mut splitter = Splitter::new(format);
        let pieces = wire.chunks(size);
        let mut runs: Vec<_> =
            pieces.map(|piece| splitter.push(Bytes::copy_from_slice(piece)).unwrap()).collect();
        runs.push(splitter.finish());
        runs.retain(|run| !run.is_empty());
        runs
    }

    #[test]
    fn events_are_never_split_however_the_bytes_come() {
        let wire =
            b"data: 1\n\nevent: x\r\ndata: a\r\ndata: b\r\n\r\n: comment\n\ndata: 2\r\rdata: [DONE]\n\n";
        for size in 1..=wire.len() {
            let runs = run(wire, size, Format::Sse);
            assert_eq!(runs.concat(), wire);
            assert!(runs.iter().all(|run| ends_event(run)), "pieces of {size}: {runs:?}");
        }
    }

    #[test]
    fn lines_are_never_split_however_the_bytes_come() {
        let wire = b"{\"a\":1}\n{\"b\":2}\r\n{\"done\":true}\n";
        for size in 1..=wire.len() {
            let runs = run(wire, size, Format::Ndjson);
            assert_eq!(runs.concat(), wire);
            assert!(runs.iter().all(|run| run.ends_with(b"\n")));
        }
    }

    #[test]
    fn whole_events_pass_without_a_copy() {
        let bytes = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let out = Splitter::new(Format::Sse).push(bytes.clone()).unwrap();
        assert_eq!(out.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::new(Format::Sse);
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        let refused = (0..100).position(|_| splitter.push(piece.clone()).is_err());
        assert_eq!(refused, Some(EVENT_BYTES_MAX / piece.len()));
    }

    #[test]
    fn any_bytes_in_any_pieces_come_out_the_same() {
        bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
            let alphabet = b"\r\n\n\rd:a";
            let wire: Vec<u8> = bytes.iter().map(|byte| alphabet[usize::from(*byte) % 7]).collect();
            for format in [Format::Sse, Format::Ndjson] {
                assert_eq!(run(&wire, usize::from(*size) + 1, format).concat(), wire);
            }
        });
    }
}
