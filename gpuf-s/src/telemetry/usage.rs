//! Carries records of usage from the threads that serve to the store, in batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::store::{self, Store, UsageRecord};

/// Records that may wait while the store is away: several minutes of a busy server.
const QUEUE_RECORDS_MAX: usize = 131_072;
/// Records per transaction.
const BATCH_RECORDS_MAX: usize = 1000;
/// How long the first record of a batch waits for others: what a power of kill may cost.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// A store that does not take a batch is asked again after this.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// At the end, a store that does not take the rest is given up after this.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Why records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The store was away for so long that the queue filled up.
    QueueFull,
    /// The store does not take them, whenever it is asked.
    Refused,
    /// The store was away while the server ended.
    Closing,
}

impl Lost {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Refused, Self::Closing];

    /// The label in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Closing => "closing",
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    lost: [AtomicU64; Lost::ALL.len()],
    stored: AtomicU64,
}

/// Takes records from any thread. Clones share one queue.
#[derive(Debug, Clone)]
pub struct UsageWriter {
    queue: mpsc::Sender<UsageRecord>,
    counts: Arc<Counts>,
}

/// The task that stores what the writers take.
#[derive(Debug)]
pub struct UsageScribe {
    queue: mpsc::Receiver<UsageRecord>,
    counts: Arc<Counts>,
    store: Store,
}

impl UsageWriter {
    /// A writer, and the task behind it: whoever owns the runtime spawns [`UsageScribe::run`] and waits
    /// for it at the end.
    #[must_use]
    pub fn new(store: Store) -> (Self, UsageScribe) {
        let (sender, receiver) = mpsc::channel(QUEUE_RECORDS_MAX);
        let counts = Arc::new(Counts::default());
        let scribe = UsageScribe { queue: receiver, counts: counts.clone(), store };
        (Self { queue: sender, counts }, scribe)
    }

    /// Hands over a record; never waits. Where that is not possible it is counted as lost.
    pub fn record(&self, record: UsageRecord) {
        match self.queue.try_send(record) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.counts.lose(Lost::QueueFull, 1),
            Err(TrySendError::Closed(_)) => self.counts.lose(Lost::Closing, 1),
        }
    }

    /// Records lost so far for a reason.
    #[must_use]
    pub fn lost(&self, why: Lost) -> u64 {
        self.counts.lost[why as usize].load(Ordering::Relaxed)
    }

    /// Records stored so far.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.counts.stored.load(Ordering::Relaxed)
    }

    /// Records that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

impl Counts {
    fn lose(&self, why: Lost, records: usize) {
        self.lost[why as usize].fetch_add(records as u64, Ordering::Relaxed);
    }
}

impl UsageScribe {
    /// Stores batches until `closing`, then what is left, and returns.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                taken = self.queue.recv_many(&mut batch, BATCH_RECORDS_MAX) => if taken == 0 { break },
            }
            self.fill(&mut batch, &closing).await;
            self.store_patiently(&mut batch, &closing).await;
        }
        self.finish(batch).await;
    }

    /// Nobody is woken while this sleeps: under load a record costs its push and no more.
    async fn fill(&mut self, batch: &mut Vec<UsageRecord>, closing: &CancellationToken) {
        if batch.len() < BATCH_RECORDS_MAX {
            tokio::select! {
                () = sleep(BATCH_WAIT) => {}
                () = closing.cancelled() => {}
            }
            self.drain(batch);
        }
    }

    fn drain(&mut self, batch: &mut Vec<UsageRecord>) {
        while batch.len() < BATCH_RECORDS_MAX
            && let Ok(record) = self.queue.try_recv()
        {
            batch.push(record);
        }
    }

    /// Asks until the store has taken the batch; ids make asking twice harmless. The queue fills meanwhile.
    async fn store_patiently(&self, batch: &mut Vec<UsageRecord>, closing: &CancellationToken) {
        while !self.store_once(batch).await {
            tokio::select! {
                () = sleep(RETRY_EVERY) => {}
                () = closing.cancelled() => return,
            }
        }
    }

    /// Whether the batch is done with, stored or not.
    async fn store_once(&self, batch: &mut Vec<UsageRecord>) -> bool {
        match self.store.insert_usage(batch).await {
            Ok(()) => {
                self.counts.stored.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            Err(error @ store::Error::Unavailable(_)) => {
                tracing::warn!(%error, records = batch.len(), "records of usage wait for the store");
                return false;
            }
            Err(error) => {
                tracing::error!(%error, records = batch.len(), "the store refuses records of usage");
                self.counts.lose(Lost::Refused, batch.len());
            }
        }
        batch.clear();
        true
    }

    async fn finish(mut self, mut batch: Vec<UsageRecord>) {
        self.queue.close();
        let deadline = Instant::now() + CLOSE_DEADLINE;
        loop {
            self.drain(&mut batch);
            if batch.is_empty() {
                return;
            }
            if !matches!(timeout_at(deadline, self.store_once(&mut batch)).await, Ok(true)) {
                let lost = batch.len() + self.queue.len();
                tracing::error!(records = lost, "records of usage are lost: the store is away");
                self.counts.lose(Lost::Closing, lost);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
