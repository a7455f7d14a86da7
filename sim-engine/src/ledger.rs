//! What the engine received and how each request ended, with an event for whoever waits on it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

/// How a request ended, as the engine saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was written whole.
    Completed,
    /// The peer closed or reset the connection before the answer was whole.
    PeerAborted,
    /// The script ended it: a close in mid-answer.
    ClosedByScript,
    /// The engine was stopped meanwhile.
    EngineStopped,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Counts from zero, in order of arrival.
    pub id: u64,
    /// The connection that it came on; requests on one kept-alive connection share it.
    pub connection: u64,
    /// The method as sent.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Names as sent, in order.
    pub headers: Vec<(String, String)>,
    /// The body, as far as the ledger keeps it.
    pub body: Bytes,
    /// The whole length of the body.
    pub body_len: u64,
    /// When the head was read.
    pub at: Instant,
    /// How and when it ended; `None` while it is active.
    pub ended: Option<(Outcome, Instant)>,
    /// Whether it only asks what the engine is or how it is.
    pub probe: bool,
}

impl Request {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.ended.map(|(outcome, _)| outcome)
    }
}

/// `Ledger::wait_for` ran out of time; shows what was there instead.
#[derive(Debug, thiserror::Error)]
#[error("not seen within {waited:?}; the ledger holds {}", Summary(.requests))]
pub struct NotSeen {
    /// How long it waited.
    pub waited: Duration,
    /// The inference requests at that time.
    pub requests: Vec<Request>,
}

struct Summary<'a>(&'a [Request]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.0.len())?;
        for request in self.0 {
            write!(f, "; {} {} {:?}", request.method, request.target, request.outcome())?;
        }
        Ok(())
    }
}

/// A handle on the engine's ledger; clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
    requests_max: usize,
    body_kept_max: usize,
}

#[derive(Debug, Default)]
struct Book {
    requests: VecDeque<Request>,
    next_id: u64,
    active: usize,
    active_peak: usize,
    malformed: Vec<Bytes>,
    connections: u64,
}

const MALFORMED_MAX: usize = 64;

impl Ledger {
    pub(crate) fn new(requests_max: usize, body_kept_max: usize) -> Self {
        let changed = watch::Sender::new(0);
        let book = Mutex::new(Book::default());
        Self { shared: Arc::new(Shared { book, changed, requests_max, body_kept_max }) }
    }

    /// The requests that asked for work, oldest first; probes are left out.
    pub fn requests(&self) -> Vec<Request> {
        self.book().requests.iter().filter(|request| !request.probe).cloned().collect()
    }

    /// Every request, probes included.
    pub fn everything(&self) -> Vec<Request> {
        self.book().requests.iter().cloned().collect()
    }

    /// Waits until `seen` holds for the requests that asked for work, and returns them.
    ///
    /// # Errors
    /// `NotSeen` with what was there when the time was up.
    pub async fn wait_for(
        &self,
        mut seen: impl FnMut(&[Request]) -> bool,
        timeout: Duration,
    ) -> Result<Vec<Request>, NotSeen> {
        let mut changes = self.shared.changed.subscribe();
        let found = tokio::time::timeout(timeout, async {
            loop {
                changes.borrow_and_update();
                let requests = self.requests();
                if seen(&requests) {
                    return requests;
                }
                // The sender lives in `self`, so this cannot fail while we wait.
                let _ = changes.changed().await;
            }
        });
        found.await.map_err(|_| NotSeen { waited: timeout, requests: self.requests() })
    }

    /// Requests for work that have not ended.
    pub fn active(&self) -> usize {
        self.book().active
    }

    /// The most requests for work that were ever active at one time.
    pub fn active_peak(&self) -> usize {
        self.book().active_peak
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.book().connections
    }

    /// The first bytes of whatever could not be read as a request.
    pub fn malformed(&self) -> Vec<Bytes> {
        self.book().malformed.clone()
    }

    /// Forgets the requests that have ended.
    pub fn clear(&self) {
        self.book().requests.retain(|request| request.ended.is_none());
    }

    pub(crate) fn connected(&self) -> u64 {
        let mut book = self.book();
        book.connections += 1;
        book.connections
    }

    pub(crate) fn keeps_requests(&self) -> bool {
        self.shared.requests_max > 0
    }

    pub(crate) fn note_malformed(&self, bytes: &[u8]) {
        let mut book = self.book();
        if book.malformed.len() < MALFORMED_MAX {
            book.malformed.push(Bytes::copy_from_slice(bytes));
        }
        drop(book);
        self.tell();
    }

    /// Opens an entry, which its guard closes. Headers come late-bound because a ledger that keeps nothing
    /// should not pay for them.
    pub(crate) fn open(&self, connection: u64, probe: bool, arrived: impl FnOnce() -> Arrival) -> Entry {
        let mut book = self.book();
        let id = book.next_id;
        book.next_id += 1;
        if !probe {
            book.active += 1;
            book.active_peak = book.active_peak.max(book.active);
        }
        if self.keeps_requests() {
            let Arrival { method, target, headers } = arrived();
            let (body, at) = (Bytes::new(), Instant::now());
            let request = Request {
                id,
                connection,
                method,
                target,
                headers,
                body,
                body_len: 0,
                at,
                ended: None,
                probe,
            };
            if book.requests.len() == self.shared.requests_max {
                book.requests.pop_front();
            }
            book.requests.push_back(request);
        }
        drop(book);
        self.tell();
        Entry { ledger: self.clone(), id, probe, outcome: Outcome::EngineStopped }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        if self.shared.changed.receiver_count() > 0 {
            self.shared.changed.send_modify(|version| *version = version.wrapping_add(1));
        }
    }

    fn amend(&self, id: u64, change: impl FnOnce(&mut Request)) {
        let mut book = self.book();
        let first = book.requests.front().map_or(0, |request| request.id);
        // Ids are dense unless `clear` made holes, so the guess usually hits.
        let guess = usize::try_from(id.saturating_sub(first)).unwrap_or(usize::MAX);
        let hit = book.requests.get(guess).is_some_and(|request| request.id == id);
        let at = if hit { Some(guess) } else { book.requests.iter().position(|request| request.id == id) };
        if let Some(request) = at.and_then(|at| book.requests.get_mut(at)) {
            change(request);
        }
        drop(book);
        self.tell();
    }
}

/// What the head of a request said.
pub(crate) struct Arrival {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// An open entry. Dropped without an outcome, the engine was stopped under it.
pub(crate) struct Entry {
    ledger: Ledger,
    id: u64,
    probe: bool,
    outcome: Outcome,
}

impl Entry {
    pub(crate) fn body(&self, body: &Bytes, body_len: u64) {
        if !self.ledger.keeps_requests() {
            return;
        }
        let kept = body.len().min(self.ledger.shared.body_kept_max);
        self.ledger.amend(self.id, |request| {
            request.body = Bytes::copy_from_slice(&body[..kept]);
            request.body_len = body_len;
        });
    }

    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.probe {
            self.ledger.book().active -= 1;
        }
        if self.ledger.keeps_requests() {
            self.ledger.amend(self.id, |request| request.ended = Some((self.outcome, Instant::now())));
        } else {
            self.ledger.tell();
        }
    }
}
