//! The bus inside one process: a record is acknowledged when its consumer committed it.
//!
//! It keeps nothing: what a consumer did not commit is with the publisher, whose outbox is the durable log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{Consumer, Error, PUBLISH_DEADLINE, Partition, Position, Received, Record, consumer};
use crate::outbox::{Entry, Topic};

/// Records that are published and not committed.
const RECORDS_MAX: usize = 8192;
/// Each topic has one partition.
const PARTITION: i32 = 0;

type Offsets = [i64; Topic::ALL.len()];

/// Handle of it; clones share it.
#[derive(Debug, Clone)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Something for the consumer.
    news: Notify,
    /// Whether a consumer has started, for those who wait for it; set under the lock of the state.
    started: watch::Sender<bool>,
    room: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    has_consumer: bool,
    is_started: bool,
    /// The offset of the next record of each topic.
    next: Offsets,
    committed: Offsets,
    /// Not received yet.
    queue: VecDeque<Record>,
    publications: Vec<Publication>,
}

/// Somebody who waits for a commit.
#[derive(Debug)]
struct Publication {
    /// Committed up to these, all its records are.
    until: Offsets,
    told: oneshot::Sender<()>,
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl Embedded {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            news: Notify::new(),
            started: watch::Sender::new(false),
            room: Semaphore::new(RECORDS_MAX),
        }))
    }

    pub(super) async fn publish(&self, entries: &[Entry]) -> Result<(), Error> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let late = |what: &str| Error::Unavailable(format!("{what} within {} s", PUBLISH_DEADLINE.as_secs()));
        for entries in entries.chunks(RECORDS_MAX) {
            let published = self.publish_some(entries);
            timeout_at(deadline, published).await.map_err(|_| late("the consumer did not commit"))??;
        }
        Ok(())
    }

    async fn publish_some(&self, entries: &[Entry]) -> Result<(), Error> {
        let records = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let _room = self.0.room.acquire_many(records).await.map_err(|_| Error::Closed)?;
        let mut started = self.0.started.subscribe();
        let (committed, until) = loop {
            // The sender lives as long as this handle.
            let _ = started.wait_for(|started| *started).await;
            if let Some(publication) = self.0.state().push(entries) {
                break publication;
            }
        };
        // Records that nobody took are not left behind: the publisher sends them again.
        let _retract = Retract { bus: &self.0, until };
        self.0.news.notify_one();
        committed.await.map_err(|_| Error::Unavailable("the consumer went away".into()))
    }

    pub(super) fn consumer(&self) -> Result<Consumer, Error> {
        let mut state = self.0.state();
        if std::mem::replace(&mut state.has_consumer, true) {
            return Err(Error::Refused("the embedded bus has one consumer at a time".into()));
        }
        Ok(consumer::Member::Embedded(Member { bus: self.0.clone(), told: false }).into())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_started(&self, state: &mut State, is_started: bool) {
        state.is_started = is_started;
        self.started.send_replace(is_started);
    }
}

impl State {
    /// `None` without a consumer that has started.
    fn push(&mut self, entries: &[Entry]) -> Option<(oneshot::Receiver<()>, Offsets)> {
        if !self.is_started {
            return None;
        }
        for entry in entries {
            let next = &mut self.next[entry.topic as usize];
            self.queue.push_back(Record {
                topic: entry.topic,
                partition: PARTITION,
                offset: *next,
                key: Bytes::copy_from_slice(&entry.key),
                payload: entry.payload.clone(),
            });
            *next += 1;
        }
        let (told, committed) = oneshot::channel();
        self.publications.push(Publication { until: self.next, told });
        Some((committed, self.next))
    }

    fn acknowledge(&mut self) {
        let committed = self.committed;
        let is_done = |publication: &mut Publication| {
            publication.until.iter().zip(committed).all(|(until, committed)| *until <= committed)
        };
        for publication in self.publications.extract_if(.., is_done) {
            // A publisher that gave up sends again; the records are known by their ids.
            let _ = publication.told.send(());
        }
    }
}

/// Takes back what a publisher that is gone left in the queue.
struct Retract<'a> {
    bus: &'a Inner,
    until: Offsets,
}

impl Drop for Retract<'_> {
    fn drop(&mut self) {
        let mut state = self.bus.state();
        // One that ended well has left nothing; another's records are not touched.
        let Some(at) = state.publications.iter().position(|one| one.until == self.until) else { return };
        let before = at.checked_sub(1).map_or(state.committed, |before| state.publications[before].until);
        state.publications.remove(at);
        let until = self.until;
        state.queue.retain(|record| {
            let topic = record.topic as usize;
            record.offset < before[topic] || record.offset >= until[topic]
        });
    }
}

/// The consumer's end.
#[derive(Debug)]
pub(super) struct Member {
    bus: Arc<Inner>,
    /// That partitions wait for their start was told.
    told: bool,
}

impl Member {
    pub async fn receive(&mut self, max: usize, wait: Duration) -> Received {
        let deadline = Instant::now() + wait;
        loop {
            let is_over = Instant::now() >= deadline;
            if let Some(received) = self.take(max, is_over) {
                return received;
            }
            // That the wait is over is seen above.
            let _ = timeout_at(deadline, self.bus.news.notified()).await;
        }
    }

    fn take(&mut self, max: usize, is_over: bool) -> Option<Received> {
        let mut state = self.bus.state();
        if !state.is_started {
            let tell = is_over || !std::mem::replace(&mut self.told, true);
            let assigned = Topic::ALL.map(|topic| Partition { topic, partition: PARTITION });
            return tell.then(|| Received { assigned: assigned.into(), ..Received::default() });
        }
        let waiting = state.queue.len();
        // Publishers hand over batches and wait for the commit: there is nothing to gain by waiting for more.
        (is_over || waiting > 0).then(|| Received {
            records: state.queue.drain(..waiting.min(max)).collect(),
            ..Received::default()
        })
    }

    pub fn start(&self, positions: &[Position]) {
        let mut state = self.bus.state();
        if state.is_started {
            return;
        }
        for position in positions {
            // Offsets go on where an earlier process stopped, so that the store's never point ahead.
            let next = &mut state.next[position.topic as usize];
            *next = position.next.max(*next);
        }
        state.committed = state.next;
        self.bus.set_started(&mut state, true);
    }

    pub fn commit(&self, positions: &[Position]) {
        let mut state = self.bus.state();
        for position in positions {
            let topic = position.topic as usize;
            state.committed[topic] = state.committed[topic].max(position.next.min(state.next[topic]));
        }
        state.acknowledge();
    }

    pub fn gauge(&self) -> Gauge {
        Gauge(self.bus.clone())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.bus.state();
        self.bus.set_started(&mut state, false);
        state.has_consumer = false;
        state.queue.clear();
        state.publications.clear();
    }
}

/// Reads how far the consumer is behind.
#[derive(Debug, Clone)]
pub(super) struct Gauge(Arc<Inner>);

impl Gauge {
    pub fn read(&self) -> Vec<(Topic, i32, u64)> {
        let state = self.0.state();
        let lag = |topic: Topic| state.next[topic as usize] - state.committed[topic as usize];
        Topic::ALL.map(|topic| (topic, PARTITION, lag(topic).unsigned_abs())).into()
    }
}

#[cfg(test)]
mod tests;
