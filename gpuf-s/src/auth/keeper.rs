//! Asks the cache and the store about keys, for everyone at once: one question per key in flight, few in all.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{AnsweredBy, Error, Inner, Principal, Verdict, recent::Moment};
use crate::{
    cache::{Cache, Lookup},
    store::{self, KeyHash, KeyRow, Store, UnixSeconds},
};

/// Questions that may wait in each queue.
pub(super) const QUESTIONS_MAX: usize = 1024;
/// Questions that the store is asked at once: more would only wait inside it.
const IN_FLIGHT_MAX: usize = 4;
/// Answers of the store that are written into the cache at once; what comes meanwhile is not kept.
const PUTS_MAX: usize = 64;
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

/// What was said, and what was so when it was asked.
struct Reply {
    hash: KeyHash,
    asked: Instant,
    epoch: u64,
    said: Said,
}

enum Said {
    /// By the cache, to be relied on from then on.
    Cached(Option<KeyRow>, Instant),
    Stored(Option<KeyRow>),
    /// The store did not answer; the cache said this.
    Nothing(store::Error, Lookup),
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
    puts: FuturesUnordered<BoxFuture<'static, ()>>,
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
        let (asked, puts) = (FuturesUnordered::new(), FuturesUnordered::new());
        Self { store, known, strangers, inner, in_flight, waiting, asked, puts }
    }

    /// Answers questions until `closing`. Whoever still waits then is told that keys cannot be checked.
    pub async fn run(mut self, closing: CancellationToken) {
        loop {
            let room = self.asked.len() < IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                Some(reply) = self.asked.next() => self.answer(reply),
                Some(()) = self.puts.next() => {}
                Some(question) = self.known.recv(), if room => self.ask(question),
                Some(question) = self.strangers.recv(), if room => self.ask(question),
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let Question { hash, now, answer } = question;
        // Nobody waits where a row in use is read again before it is too old: that is the store's to answer.
        let from_cache = answer.is_some();
        if let Some(waiting) = answer {
            // The answer may have come since: whoever asked a moment later was still in the queue.
            if let Some(known) = self.inner.recent.answer(&hash, now) {
                self.inner.lookups.count(AnsweredBy::Memory, verdict(&known));
                let _ = waiting.send(known);
                return;
            }
            self.waiting.entry(hash).or_default().push(waiting);
        }
        if !self.in_flight.insert(hash) {
            return;
        }
        let (store, inner) = (self.store.clone(), self.inner.clone());
        self.asked.push(Box::pin(async move {
            let epoch = inner.recent.epoch();
            let said = find(&store, &inner, &hash, now, from_cache).await;
            Reply { hash, asked: now, epoch, said }
        }));
    }

    fn answer(&mut self, Reply { hash, asked, epoch, said }: Reply) {
        let (recent, wall) = (&self.inner.recent, UnixSeconds::now());
        let (by, answer) = match said {
            Said::Cached(row, seen) => {
                let principal = recent.take_in(hash, row, epoch, Moment { seen, now: asked, wall });
                (self.inner.cached_by(), principal.ok_or(Error::Invalid))
            }
            Said::Stored(row) => {
                self.keep(hash, row.clone());
                (AnsweredBy::Store, recent.learn(hash, row, epoch, asked, wall).ok_or(Error::Invalid))
            }
            Said::Nothing(error, cached) => {
                tracing::warn!(%error, "a key could not be checked");
                self.without_the_store(hash, cached, epoch, asked)
            }
        };
        self.in_flight.remove(&hash);
        for waiting in self.waiting.remove(&hash).into_iter().flatten() {
            self.inner.lookups.count(by, verdict(&answer));
            // Whoever left does not need the answer.
            let _ = waiting.send(answer.clone());
        }
    }

    /// What this server knows is younger than what the cache says.
    fn without_the_store(
        &self,
        hash: KeyHash,
        cached: Lookup,
        epoch: u64,
        asked: Instant,
    ) -> (AnsweredBy, Answer) {
        let recent = &self.inner.recent;
        if let Some(known) = recent.store_is_away(&hash, asked) {
            return (AnsweredBy::Memory, Ok(known));
        }
        let row = match cached {
            Lookup::Row(row) => Some(row),
            Lookup::Nobody => None,
            Lookup::Unknown => return (AnsweredBy::Store, Err(Error::Unavailable)),
        };
        let seen = recent.cached_since(asked).unwrap_or(asked);
        let moment = Moment { seen, now: asked, wall: UnixSeconds::now() };
        (self.inner.cached_by(), recent.take_in(hash, row, epoch, moment).ok_or(Error::Invalid))
    }

    /// Lets the cache know; whoever asked does not wait for that.
    fn keep(&self, hash: KeyHash, row: Option<KeyRow>) {
        if self.puts.len() < PUTS_MAX {
            let cache = self.inner.cache.clone();
            self.puts.push(Box::pin(async move { cache.put(&hash, row.as_ref()).await }));
        }
    }
}

async fn find(store: &Store, inner: &Inner, hash: &KeyHash, now: Instant, from_cache: bool) -> Said {
    let mut cached = Lookup::Unknown;
    if from_cache {
        // Taken before the cache is asked, so that it is not younger than the answer. The question may have
        // waited in a queue.
        let since = inner.recent.cached_since(now.max(Instant::now()));
        cached = inner.cache.get(hash).await;
        cached = match (since, cached) {
            (Some(since), Lookup::Row(row)) => return Said::Cached(Some(row), since),
            (Some(since), Lookup::Nobody) => return Said::Cached(None, since),
            (_, cached) => cached,
        };
    }
    match store.key_by_hash(hash).await {
        Ok(row) => Said::Stored(row),
        Err(error) => Said::Nothing(error, cached),
    }
}

impl Inner {
    fn cached_by(&self) -> AnsweredBy {
        match self.cache {
            Cache::Memory(_) => AnsweredBy::Memory,
            Cache::Redis(_) => AnsweredBy::Redis,
        }
    }
}

const fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Ok(_) => Verdict::Valid,
        Err(Error::Unavailable) => Verdict::Unavailable,
        Err(_) => Verdict::Invalid,
    }
}
