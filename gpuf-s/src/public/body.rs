//! The body of a reply: nothing, bytes that are there, or an engine's answer on its way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{guard::Busy, relay::Relay};

/// The connection must be closed without the end of the body: it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut")]
pub struct Cut;

/// A reply's body. Its connection counts as busy while it lives.
#[derive(Debug)]
pub struct Body {
    content: Content,
    busy: Option<Busy>,
}

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Relay(Box<Relay>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// All of it.
    pub const fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(bytes), busy: None }
    }

    /// What an engine sends.
    pub fn relay(relay: Relay) -> Self {
        Self { content: Content::Relay(Box::new(relay)), busy: None }
    }

    /// Keeps `busy` for as long as this lives.
    pub fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.get_mut().content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Relay(relay) => {
                relay.poll_next(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Relay(relay) => relay.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Relay(relay) => relay.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
