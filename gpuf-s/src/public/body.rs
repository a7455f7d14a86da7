//! The body of a reply: nothing, bytes that are there, or an engine's answer on its way.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{sync::mpsc, time::timeout};

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
    Paced(mpsc::Receiver<Result<Bytes, Cut>>),
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

    /// The same, on a task of its own that ends when nothing is taken for `stalled`.
    ///
    /// For HTTP/2, where a caller that opens no window keeps the library from asking for more: nobody
    /// else would notice, and an engine's slot would be taken for as long as the caller likes.
    pub fn paced(self, stalled: Duration) -> Self {
        let Content::Relay(relay) = self.content else { return self };
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(pace(relay, sender, stalled));
        Self { content: Content::Paced(receiver), busy: self.busy }
    }

    /// Keeps `busy` for as long as this lives.
    pub fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

async fn pace(mut relay: Box<Relay>, sender: mpsc::Sender<Result<Bytes, Cut>>, stalled: Duration) {
    // Kept for the cut: whoever reads on later must not take half an answer for a whole one.
    let Ok(last) = sender.clone().try_reserve_owned() else { return };
    loop {
        let next = tokio::select! {
            next = poll_fn(|context| relay.poll_next(context)) => next,
            () = sender.closed() => return,
        };
        let Some(next) = next else { return };
        match timeout(stalled, sender.send(next)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                last.send(Err(Cut));
                return;
            }
        }
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
            Content::Paced(receiver) => {
                receiver.poll_recv(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
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
            Content::Paced(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Paced(_) => SizeHint::default(),
            Content::Relay(relay) => relay.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
