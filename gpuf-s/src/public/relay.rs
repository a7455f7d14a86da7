//! An engine's answer on its way to the caller: event by event, counted, and cut if it cannot be finished.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use common::Dialect;
use http::{HeaderMap, header};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    body::Cut,
    events::{self, Format, Splitter},
    flight::Flight,
    reply,
    request_id::RequestId,
};
use crate::{dispatch, store::Outcome, tunnel};

/// The last event of a cut stream gets so long to leave before the connection is broken.
const LAST_EVENT_GRACE: Duration = Duration::from_millis(20);

/// An engine that has said `[DONE]` gets so long to end its answer before it is ended for it.
const AFTER_DONE: Duration = Duration::from_secs(1);
/// What a silent stream carries, so that nobody in between takes it for dead.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// How long a stream may take.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    /// Between two tokens.
    pub token_gap: Duration,
    /// Between comments meanwhile.
    pub comment: Duration,
    /// In all.
    pub whole: Duration,
}

/// An answer that is being relayed.
#[derive(Debug)]
pub struct Relay {
    state: State,
    begun: Bytes,
    source: Option<tunnel::Body>,
    splitter: Option<Splitter>,
    format: Option<Format>,
    flight: Flight,
    take_out_usage: bool,
    done: bool,
    left: Option<u64>,
    dialect: Dialect,
    id: RequestId,
    timers: Timers,
    heard: Instant,
    commented: Instant,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    /// The last event has been given; the connection breaks when the timer fires.
    Cutting,
    Ended,
}

/// What the relay needs to know about an answer.
#[derive(Debug)]
pub struct Begun {
    /// What has been read of it.
    pub begun: Bytes,
    /// The rest.
    pub rest: Option<tunnel::Body>,
    /// Its accounting.
    pub flight: Flight,
    /// Whether token counts are there because we asked for them.
    pub take_out_usage: bool,
    /// Its dialect.
    pub dialect: Dialect,
    /// Its name.
    pub id: RequestId,
}

impl Relay {
    /// Of an answer with these headers.
    pub fn new(headers: &HeaderMap, answer: Begun, timers: Timers) -> Self {
        let now = Instant::now();
        let format = format(headers);
        let length = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        Self {
            state: State::Flowing,
            begun: answer.begun,
            source: answer.rest,
            splitter: format.map(Splitter::new),
            format,
            flight: answer.flight,
            take_out_usage: answer.take_out_usage,
            done: false,
            left: length.filter(|_| format.is_none()),
            dialect: answer.dialect,
            id: answer.id,
            timers,
            heard: now,
            commented: now,
            deadline: now + timers.whole,
            timer: Box::pin(sleep_until(now + timers.comment.min(timers.token_gap))),
        }
    }

    /// Whether nothing follows.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// How many bytes follow, where that is known.
    pub const fn left(&self) -> Option<u64> {
        self.left
    }

    /// The next bytes for the caller.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            match self.state {
                State::Ended => return Poll::Ready(None),
                State::Cutting => {
                    ready!(self.timer.as_mut().poll(context));
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(Cut)));
                }
                State::Flowing => {}
            }
            match self.poll_source(context) {
                Poll::Ready(Ok(Some(bytes))) => {
                    if let Some(out) = self.pass(bytes) {
                        return Poll::Ready(Some(out));
                    }
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(self.finish()),
                Poll::Ready(Err(_)) if self.done => return Poll::Ready(self.finish()),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(self.cut(error))),
                Poll::Pending => return self.poll_timer(context),
            }
        }
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, dispatch::Error>> {
        if !self.begun.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.begun))));
        }
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(None)) };
        let next = ready!(source.poll_data(context));
        self.heard = Instant::now();
        Poll::Ready(next.transpose().map_err(|_| dispatch::Error::Upstream))
    }

    /// Bytes of the engine to bytes for the caller; `None` when they complete no event.
    fn pass(&mut self, bytes: Bytes) -> Option<Result<Bytes, Cut>> {
        let Some(splitter) = &mut self.splitter else {
            return self.pass_plain(bytes);
        };
        let Ok(whole) = splitter.push(bytes) else { return Some(self.cut(dispatch::Error::Upstream)) };
        if whole.is_empty() {
            return None;
        }
        let out = self.metered(whole);
        (!out.is_empty()).then_some(Ok(out))
    }

    /// What the caller hears of whole events; they are counted.
    fn metered(&mut self, events: Bytes) -> Bytes {
        let instead = self
            .format
            .and_then(|format| self.flight.tokens.read_events(&events, format, self.take_out_usage));
        let out = self.until_done(instead.unwrap_or(events));
        self.flight.count(out.len());
        // Whoever reads `[DONE]` has the whole answer, and may rely on its being accounted for.
        if self.done {
            self.flight.record(Outcome::Ok);
        }
        out
    }

    /// Whatever an engine says after its `[DONE]`, the caller hears it once.
    fn until_done(&mut self, mut run: Bytes) -> Bytes {
        if self.done {
            return Bytes::new();
        }
        if self.format == Some(Format::Sse)
            && let Some(end) = events::done_end(&run)
        {
            self.done = true;
            self.deadline = self.deadline.min(Instant::now() + AFTER_DONE);
            self.timer.as_mut().reset(self.deadline);
            run.truncate(end);
        }
        run
    }

    fn pass_plain(&mut self, bytes: Bytes) -> Option<Result<Bytes, Cut>> {
        if let Some(left) = &mut self.left {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                None => return Some(self.cut(dispatch::Error::Upstream)),
            }
        }
        self.flight.count(bytes.len());
        // Nobody asks for more than the announced length: the end is here, not at another poll.
        if self.left == Some(0) {
            self.close(Outcome::Ok);
        }
        Some(Ok(bytes))
    }

    fn finish(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.left.is_some_and(|left| left > 0) {
            return Some(self.cut(dispatch::Error::Upstream));
        }
        let rest = self.splitter.as_mut().map(Splitter::finish).unwrap_or_default();
        let rest = self.metered(rest);
        self.close(Outcome::Ok);
        (!rest.is_empty()).then_some(Ok(rest))
    }

    fn close(&mut self, outcome: Outcome) {
        self.state = State::Ended;
        self.source = None;
        self.flight.end(outcome);
    }

    /// Tells the caller of a stream that it ends early, then breaks the connection.
    fn cut(&mut self, error: dispatch::Error) -> Result<Bytes, Cut> {
        self.flight.end(Outcome::Aborted);
        self.source = None;
        if self.format.is_none() {
            self.state = State::Ended;
            return Err(Cut);
        }
        self.state = State::Cutting;
        self.timer.as_mut().reset(Instant::now() + LAST_EVENT_GRACE);
        Ok(reply::cut_event(&error.into(), self.dialect, &self.id))
    }

    /// While the engine is silent: a comment now and then, and an end when it takes too long.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            let end = self.deadline.min(self.heard + self.timers.token_gap);
            if now >= end && self.done {
                return Poll::Ready(self.finish());
            }
            if now >= end {
                return Poll::Ready(Some(self.cut(dispatch::Error::UpstreamTimeout)));
            }
            let comment_due = self.heard.max(self.commented) + self.timers.comment;
            let comments = self.format == Some(Format::Sse) && !self.done;
            if comments && now >= comment_due {
                self.commented = now;
                self.timer.as_mut().reset(end.min(now + self.timers.comment));
                return Poll::Ready(Some(Ok(COMMENT)));
            }
            self.timer.as_mut().reset(if comments { end.min(comment_due) } else { end });
        }
    }
}

fn format(headers: &HeaderMap) -> Option<Format> {
    if dispatch::has_type(headers, "text/event-stream") {
        Some(Format::Sse)
    } else if dispatch::has_type(headers, "application/x-ndjson") {
        Some(Format::Ndjson)
    } else {
        None
    }
}
