//! Asks the store about keys, for everyone at once: one question per key in flight, few in all.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Error, Inner, Principal};
use crate::store::{self, KeyHash, KeyRow, Store, UnixSeconds};

/// Questions that may wait in each queue.
pub(super) const QUESTIONS_MAX: usize = 1024;
/// Questions that the store is asked at once: more would only wait inside it.
const IN_FLIGHT_MAX: usize = 4;
/// Whoever asks waits this long: a store that hangs is given up after its own deadline.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_millis(2500);

type Answer = Result<Arc<Principal>, Error>;
type Asked = BoxFuture<'static, Reply>;

/// A key to be asked for, since when, and who waits for the answer; nobody does where a known key is refreshed.
pub(super) struct Question {
    pub(super) hash: KeyHash,
    pub(super) now: Instant,
    pub(super) answer: Option<oneshot::Sender<Answer>>,
}

/// What the store said, and what was so when it was asked.
struct Reply {
    hash: KeyHash,
    asked: Instant,
    epoch: u64,
    row: Result<Option<KeyRow>, store::Error>,
}

/// The task behind an [`super::Authenticator`].
pub struct Keeper {
    store: Store,
    known: mpsc::Receiver<Question>,
    strangers: mpsc::Receiver<Question>,
    inner: Arc<Inner>,
    in_flight: HashSet<KeyHash>,
    waiting: HashMap<KeyHash, Vec<oneshot::Sender<Answer>>>,
    asked: FuturesUnordered<Asked>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        known: mpsc::Receiver<Question>,
        strangers: mpsc::Receiver<Question>,
        inner: Arc<Inner>,
    ) -> Self {
        let (in_flight, waiting) = (HashSet::new(), HashMap::new());
        Self { store, known, strangers, inner, in_flight, waiting, asked: FuturesUnordered::new() }
    }

    /// Answers questions until `closing`. Whoever still waits then is told that keys cannot be checked.
    pub async fn run(mut self, closing: CancellationToken) {
        loop {
            let room = self.asked.len() < IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                Some(reply) = self.asked.next() => self.answer(reply),
                Some(question) = self.known.recv(), if room => self.ask(question),
                Some(question) = self.strangers.recv(), if room => self.ask(question),
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let Question { hash, now, answer } = question;
        if let Some(waiting) = answer {
            // The answer may have come since: whoever asked a moment later was still in the queue.
            if let Some(known) = self.inner.cache.answer(&hash, now) {
                let _ = waiting.send(known);
                return;
            }
            self.waiting.entry(hash).or_default().push(waiting);
        }
        if !self.in_flight.insert(hash) {
            return;
        }
        let (store, epoch) = (self.store.clone(), self.inner.cache.epoch());
        self.asked.push(Box::pin(async move {
            Reply { hash, asked: now, epoch, row: store.key_by_hash(&hash).await }
        }));
    }

    fn answer(&mut self, Reply { hash, asked, epoch, row }: Reply) {
        let cache = &self.inner.cache;
        let answer = match row {
            Ok(row) => cache.learn(hash, row, epoch, asked, UnixSeconds::now()).ok_or(Error::Invalid),
            Err(error) => {
                tracing::warn!(%error, "a key could not be checked");
                cache.store_is_away(&hash, asked).ok_or(Error::Unavailable)
            }
        };
        self.in_flight.remove(&hash);
        for waiting in self.waiting.remove(&hash).into_iter().flatten() {
            // Whoever left does not need the answer.
            let _ = waiting.send(answer.clone());
        }
    }
}
