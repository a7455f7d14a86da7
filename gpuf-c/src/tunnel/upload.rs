//! A request body on its way from a stream of the tunnel to an engine.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;

/// The body of a request to an engine.
#[derive(Debug)]
pub enum Upload {
    /// All of it was there when the request came.
    Whole(Bytes),
    /// It is still coming.
    Pieces(Pieces),
}

/// A body that comes in pieces.
#[derive(Debug)]
pub struct Pieces {
    first: Option<Bytes>,
    stream: RecvStream,
}

/// The caller or the server broke off; the engine's request is broken off, too.
#[derive(Debug, thiserror::Error)]
#[error("the request body was cut short")]
pub struct CutShort;

impl Upload {
    /// Takes the body of a stream: whole if it is there, which it is for most requests.
    pub fn of(mut stream: RecvStream) -> Self {
        if stream.is_end_stream() {
            return Self::Whole(Bytes::new());
        }
        let first = match stream.poll_data(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(bytes))) => Some(bytes),
            _ => None,
        };
        if let Some(bytes) = &first {
            let _ = stream.flow_control().release_capacity(bytes.len());
            if stream.is_end_stream() {
                return Self::Whole(first.unwrap_or_default());
            }
        }
        Self::Pieces(Pieces { first, stream })
    }

    /// Reads and forgets what the engine did not want, until the server ends or resets the stream: an
    /// answer that comes before the body was read is lost when the stream is reset instead.
    pub async fn discard(self) {
        let Self::Pieces(mut pieces) = self else { return };
        while let Some(Ok(_)) = pieces.next().await {}
    }
}

impl Pieces {
    /// The next piece, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, CutShort>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let piece = self.stream.data().await?.map_err(|_| CutShort);
        if let Ok(bytes) = &piece {
            let _ = self.stream.flow_control().release_capacity(bytes.len());
        }
        Some(piece)
    }
}
