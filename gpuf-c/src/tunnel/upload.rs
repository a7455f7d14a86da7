//! A request body on its way from a stream of the tunnel into the engine's connection.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// The body of a request to an engine.
#[derive(Debug)]
pub enum Upload {
    /// All of it was there when the request came.
    Whole(Option<Bytes>),
    /// It is still coming.
    Pieces(Pieces),
}

/// A body that comes in pieces.
///
/// What is left of it when the engine's connection has no more use for it goes back, to be drained
/// while the answer is still under way: an answer that comes before the body was read must arrive whole.
#[derive(Debug)]
pub struct Pieces {
    first: Option<Bytes>,
    stream: Option<RecvStream>,
    unread: Option<oneshot::Sender<RecvStream>>,
}

/// Where the unread rest of a body turns up.
pub type Unread = Option<oneshot::Receiver<RecvStream>>;

/// The caller or the server broke off; the engine's request is broken off, too.
#[derive(Debug, thiserror::Error)]
#[error("the request body was cut short")]
pub struct CutShort;

impl Upload {
    /// Takes the body of a stream: whole if it is there, which it is for most requests.
    pub fn of(mut stream: RecvStream) -> (Self, Unread) {
        if stream.is_end_stream() {
            return (Self::Whole(None), None);
        }
        let first = match stream.poll_data(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(bytes))) => Some(bytes),
            _ => None,
        };
        if let Some(bytes) = &first {
            let _ = stream.flow_control().release_capacity(bytes.len());
            if stream.is_end_stream() {
                return (Self::Whole(first), None);
            }
        }
        let (unread, rest) = oneshot::channel();
        (Self::Pieces(Pieces { first, stream: Some(stream), unread: Some(unread) }), Some(rest))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => pieces.poll_next(context).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Pieces(pieces) => pieces.stream.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutShort>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        match std::task::ready!(stream.poll_data(context)) {
            Some(Ok(bytes)) => {
                let _ = stream.flow_control().release_capacity(bytes.len());
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(CutShort))),
            None => {
                self.stream = None;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let (Some(stream), Some(unread)) = (self.stream.take(), self.unread.take()) {
            let _ = unread.send(stream);
        }
    }
}

/// Reads and forgets what the engine did not want, until the server ends or resets the stream.
pub async fn discard(unread: Unread) {
    let Some(unread) = unread else { return };
    let Ok(mut stream) = unread.await else { return };
    while let Some(Ok(bytes)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(bytes.len());
    }
}
