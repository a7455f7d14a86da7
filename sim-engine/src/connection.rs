//! One connection's life: read a request, ask the script, act it out, write how it ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::engine::State;
use crate::generation::Generation;
use crate::http1::{Body, Connection, Error, Framing, Head, reason};
use crate::ledger::{Arrival, Entry, Outcome};
use crate::routes::{self, Fixed, Reply};
use crate::script::{Behaviour, Tokens};
use crate::{identity, websocket};

/// Events without waits between them are written together up to this size.
const WRITE_BYTES: usize = 16 * 1024;
const ENDLESS_PIECE: &[u8] = &[b'x'; 16 * 1024];

/// What follows on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    Close(Outcome),
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    Hang { after: Option<u64> },
    Close { after: u64 },
}

/// The last plain request of a connection and its answer, head included: a load generator that repeats
/// itself costs one comparison.
struct Memo {
    target: String,
    body: Bytes,
    script_version: u64,
    answer: Bytes,
}

/// Serves requests until either side has enough.
pub(crate) async fn serve(stream: TcpStream, state: Arc<State>) {
    let number = state.ledger.connected();
    let mut connection = Connection::new(stream);
    let mut memo = None;
    loop {
        let head = match connection.read_head().await {
            Ok(Some(head)) => head,
            Ok(None) | Err(Error::Gone(_)) => return,
            Err(Error::Malformed) => {
                state.ledger.note_malformed(connection.unread());
                let refused = whole(&state, &Fixed::text(400, "Bad Request"), false);
                let _ = connection.write(&refused).await;
                return;
            }
        };
        let probe = identity::is_probe(&head);
        let entry = state.ledger.open(number, probe, || arrival(&head));
        if let Some(key) = upgrade(&state, &head) {
            let outcome = websocket::echo(connection, &key).await;
            return entry.end(outcome.unwrap_or(Outcome::PeerAborted));
        }
        let mut exchange =
            Exchange { connection: &mut connection, state: &state, head: &head, memo: &mut memo };
        match exchange.run(&entry, probe).await {
            Ok(Next::Request) => entry.end(Outcome::Completed),
            Ok(Next::Close(outcome)) => {
                entry.end(outcome);
                let _ = connection.finish().await;
                return;
            }
            Err(_) => return entry.end(Outcome::PeerAborted),
        }
    }
}

fn arrival(head: &Head) -> Arrival {
    Arrival { method: head.method.clone(), target: head.target.clone(), headers: head.headers() }
}

fn upgrade(state: &State, head: &Head) -> Option<String> {
    head.websocket_key.clone().filter(|_| routes::is_realtime(state.kind, head.path()))
}

/// A head and its whole body as one piece.
fn whole(state: &State, fixed: &Fixed, keep_alive: bool) -> Vec<u8> {
    let mut bytes = head_bytes(state, fixed.status, &fixed.content_type, keep_alive);
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", fixed.body.len()).as_bytes());
    bytes.extend_from_slice(&fixed.body);
    bytes
}

fn head_bytes(state: &State, status: u16, content_type: &str, keep_alive: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\n", reason(status));
    if let Some(server) = state.kind.server_header() {
        text.push_str("server: ");
        text.push_str(server);
        text.push_str("\r\n");
    }
    if !keep_alive {
        text.push_str("connection: close\r\n");
    }
    text.into_bytes()
}

/// One request under way.
struct Exchange<'a> {
    connection: &'a mut Connection,
    state: &'a State,
    head: &'a Head,
    memo: &'a mut Option<Memo>,
}

impl Exchange<'_> {
    async fn run(&mut self, entry: &Entry, probe: bool) -> Result<Next, Error> {
        let (behaviour, script_version) = self.state.next_behaviour(self.head.path(), probe);
        if let Behaviour::AnswerBeforeBody { status, body } = behaviour {
            let early = whole(self.state, &Fixed::json(status, body), self.head.keep_alive);
            self.connection.write(&early).await?;
            let body = self.connection.read_body(self.head.framing).await?;
            entry.body(&body.kept, body.len);
            return Ok(self.next());
        }
        if self.head.expects_continue && self.head.framing != Framing::None {
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = self.connection.read_body(self.head.framing).await?;
        entry.body(&body.kept, body.len);
        let state = self.state;
        let _slot = if probe { None } else { Some(self.claim_slot(state).await?) };
        self.act(&behaviour, &body, script_version).await
    }

    /// Waits for a slot like a real engine's queue: in order, without a limit, watching for the peer to go.
    async fn claim_slot<'s>(&mut self, state: &'s State) -> Result<SemaphorePermit<'s>, Error> {
        if let Ok(slot) = state.free_slots.try_acquire() {
            return Ok(slot);
        }
        let waiting = Waiting::enter(state);
        let slot = tokio::select! {
            slot = state.free_slots.acquire() => slot.map_err(|_| Error::closed()),
            gone = self.connection.peer_leaves() => Err(gone),
        };
        drop(waiting);
        slot
    }

    async fn act(&mut self, behaviour: &Behaviour, body: &Body, script_version: u64) -> Result<Next, Error> {
        let good = Tokens::default();
        match behaviour {
            Behaviour::Tokens(tokens) => self.answer(body, tokens, script_version).await,
            Behaviour::Status { status, content_type, body } => {
                let fixed = Fixed { status: *status, content_type: content_type.clone(), body: body.clone() };
                self.send_fixed(&fixed).await
            }
            Behaviour::HangBeforeHead => Err(self.connection.peer_leaves().await),
            Behaviour::HangBeforeFirstToken => {
                self.end_early(body, &good, Ending::Hang { after: None }).await
            }
            Behaviour::HangAfter { tokens } => {
                self.end_early(body, &Tokens::of(tokens + 1), Ending::Hang { after: Some(*tokens) }).await
            }
            Behaviour::CloseBeforeHead => Ok(Next::Close(Outcome::ClosedByScript)),
            Behaviour::CloseAfter { tokens } => {
                self.end_early(body, &Tokens::of(tokens + 1), Ending::Close { after: *tokens }).await
            }
            Behaviour::Raw(bytes) => {
                self.connection.write(bytes).await?;
                Ok(Next::Close(Outcome::ClosedByScript))
            }
            Behaviour::EndlessLine => self.endless_line().await,
            Behaviour::Bytes { len, chunk } => self.download(*len, *chunk).await,
            Behaviour::EchoBody => {
                let content_type =
                    self.head.content_type.clone().unwrap_or_else(|| "application/octet-stream".into());
                self.send_fixed(&Fixed { status: 200, content_type, body: body.kept.clone() }).await
            }
            // Handled before the body was read.
            Behaviour::AnswerBeforeBody { .. } => Ok(self.next()),
        }
    }

    fn next(&self) -> Next {
        if self.head.keep_alive { Next::Request } else { Next::Close(Outcome::Completed) }
    }

    async fn answer(&mut self, body: &Body, tokens: &Tokens, script_version: u64) -> Result<Next, Error> {
        if let Some(memo) = self.memo.as_ref()
            && memo.script_version == script_version
            && memo.target == self.head.target
            && memo.body == body.kept
        {
            self.connection.write(&memo.answer).await?;
            return Ok(self.next());
        }
        let start = Instant::now();
        self.connection.pause_until(start + tokens.before_head).await?;
        match routes::reply(self.state, self.head, body, tokens) {
            Reply::Fixed(fixed) => {
                let wait =
                    tokens.before_head + tokens.first_token_delay + gaps(tokens, self.state.text.len());
                self.connection.pause_until(start + wait).await?;
                self.remember(body, &fixed, wait, script_version);
                self.send_fixed(&fixed).await
            }
            Reply::Stream(generation) => self.stream(&generation, tokens, Ending::Whole).await,
        }
    }

    fn remember(&mut self, body: &Body, fixed: &Fixed, wait: Duration, script_version: u64) {
        if wait.is_zero() && self.head.keep_alive && self.head.method == "POST" {
            let answer = whole(self.state, fixed, true).into();
            let (target, body) = (self.head.target.clone(), body.kept.clone());
            *self.memo = Some(Memo { target, body, script_version, answer });
        }
    }

    async fn send_fixed(&mut self, fixed: &Fixed) -> Result<Next, Error> {
        let mut bytes = whole(self.state, fixed, self.head.keep_alive);
        if self.head.method == "HEAD" {
            bytes.truncate(bytes.len() - fixed.body.len());
        }
        self.connection.write(&bytes).await?;
        Ok(self.next())
    }

    /// A good answer that stops part of the way.
    async fn end_early(&mut self, body: &Body, tokens: &Tokens, ending: Ending) -> Result<Next, Error> {
        match routes::reply(self.state, self.head, body, tokens) {
            Reply::Stream(generation) => self.stream(&generation, tokens, ending).await,
            Reply::Fixed(fixed) => {
                let mut bytes = whole(self.state, &fixed, self.head.keep_alive);
                let unsent = if ending == (Ending::Hang { after: None }) {
                    fixed.body.len()
                } else {
                    fixed.body.len().div_ceil(2)
                };
                bytes.truncate(bytes.len() - unsent);
                self.connection.write(&bytes).await?;
                self.stop(ending).await
            }
        }
    }

    async fn stop(&mut self, ending: Ending) -> Result<Next, Error> {
        match ending {
            Ending::Whole => Ok(self.next()),
            Ending::Close { .. } => Ok(Next::Close(Outcome::ClosedByScript)),
            Ending::Hang { .. } => Err(self.connection.peer_leaves().await),
        }
    }

    async fn stream(&mut self, answer: &Generation, tokens: &Tokens, ending: Ending) -> Result<Next, Error> {
        let mut out = Chunks::after(head_bytes(
            self.state,
            200,
            answer.dialect.stream_content_type(),
            self.head.keep_alive,
        ));
        let last = match ending {
            Ending::Whole => answer.count,
            Ending::Close { after } => after.min(answer.count),
            Ending::Hang { after } => after.unwrap_or(0).min(answer.count),
        };
        let hangs_at_once = ending == Ending::Hang { after: None };
        if !tokens.first_token_delay.is_zero() || hangs_at_once {
            self.flush(&mut out).await?;
        }
        let mut due = Instant::now() + tokens.first_token_delay;
        if !hangs_at_once {
            self.connection.pause_until(due).await?;
            out.push(|text| answer.opening(text));
        }
        for index in 0..last {
            if index > 0 && !tokens.token_gap.is_zero() {
                self.flush(&mut out).await?;
                due += tokens.token_gap;
                self.connection.pause_until(due).await?;
            }
            out.push(|text| answer.token(index, text));
            if out.bytes.len() >= WRITE_BYTES {
                self.flush(&mut out).await?;
            }
        }
        if ending == Ending::Whole {
            out.push(|text| answer.closing(text));
            out.bytes.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush(&mut out).await?;
        self.stop(ending).await
    }

    async fn flush(&mut self, out: &mut Chunks) -> Result<(), Error> {
        if !out.bytes.is_empty() {
            self.connection.write(&out.bytes).await?;
            out.bytes.clear();
        }
        Ok(())
    }

    async fn endless_line(&mut self) -> Result<Next, Error> {
        let mut head = head_bytes(self.state, 200, "text/event-stream", false);
        head.extend_from_slice(b"\r\ndata: ");
        self.connection.write(&head).await?;
        loop {
            self.connection.write(ENDLESS_PIECE).await?;
            tokio::task::yield_now().await;
        }
    }

    async fn download(&mut self, len: u64, chunk: usize) -> Result<Next, Error> {
        /// One period of the pattern, so that any stretch of it can be cut from two.
        const PERIOD: u64 = 251;
        let mut head = head_bytes(self.state, 200, "application/octet-stream", self.head.keep_alive);
        head.extend_from_slice(format!("content-length: {len}\r\n\r\n").as_bytes());
        let chunk = chunk.max(1);
        let pattern: Vec<u8> =
            (0..PERIOD).map(|byte| byte as u8).cycle().take(chunk + PERIOD as usize).collect();
        self.connection.write(&head).await?;
        let mut sent = 0;
        while sent < len {
            let start = (sent % PERIOD) as usize;
            let size = (len - sent).min(chunk as u64) as usize;
            self.connection.write(&pattern[start..start + size]).await?;
            sent += size as u64;
        }
        Ok(self.next())
    }
}

/// The waits between the tokens of a plain answer.
fn gaps(tokens: &Tokens, text_tokens: u64) -> Duration {
    let count = tokens.count.unwrap_or(text_tokens).saturating_sub(1);
    tokens.token_gap.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Bytes to be written: each push is one chunk of a chunked body.
struct Chunks {
    bytes: Vec<u8>,
    text: String,
}

impl Chunks {
    /// The chunks of a body behind the beginning of its head.
    fn after(mut head: Vec<u8>) -> Self {
        head.extend_from_slice(b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");
        Self { bytes: head, text: String::new() }
    }

    fn push(&mut self, write: impl FnOnce(&mut String)) {
        self.text.clear();
        write(&mut self.text);
        // An empty chunk would end the body.
        if !self.text.is_empty() {
            self.bytes.extend_from_slice(format!("{:x}\r\n", self.text.len()).as_bytes());
            self.bytes.extend_from_slice(self.text.as_bytes());
            self.bytes.extend_from_slice(b"\r\n");
        }
    }
}

/// Counts a request that waits for a slot for as long as it does.
struct Waiting<'a>(&'a State);

impl<'a> Waiting<'a> {
    fn enter(state: &'a State) -> Self {
        state.waiting.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
