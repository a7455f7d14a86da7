//! What the thread that polls hands to the task that receives.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::bus::{Error, Partition, Position, Received, Record};

/// Records that wait for the task: more than one batch, so that the thread works while a batch is stored.
const RECORDS_MAX: usize = 16_384;
/// Bytes of them.
const BYTES_MAX: usize = 32 << 20;

/// Both ends of it.
#[derive(Debug, Default)]
pub(super) struct Feed {
    state: Mutex<State>,
    /// For the task: records, or partitions that come or go.
    news: Notify,
    /// For the thread: room, or the end.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    owned: Vec<Partition>,
    is_started: bool,
    /// That `owned` wait for their start was told.
    told: bool,
    revoked: Vec<Partition>,
    records: VecDeque<Record>,
    bytes: usize,
    /// How far each partition is stored, or where it started.
    positions: HashMap<Partition, i64>,
    /// Where each partition was to start, until its first record.
    wanted: HashMap<Partition, i64>,
    failure: Option<Error>,
    is_ended: bool,
}

impl Feed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other partitions are ours after `answer` told the client so; none is started in between. What waits of
    /// the old ones is theirs who read them next, or comes again after the start.
    pub fn assign(&self, owned: Vec<Partition>, answer: impl FnOnce()) {
        let mut state = self.state();
        answer();
        let lost = std::mem::replace(&mut state.owned, owned);
        state.revoked.extend(lost);
        state.records.clear();
        state.bytes = 0;
        state.positions.clear();
        state.wanted.clear();
        (state.is_started, state.told) = (false, false);
        drop(state);
        self.news.notify_one();
        self.room.notify_one();
    }

    /// Begins with what `assign` does with our partitions and the positions that are known of them; nothing
    /// is assigned or revoked meanwhile.
    pub fn start<E>(
        &self,
        positions: &[Position],
        assign: impl FnOnce(&[(Partition, Option<i64>)]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        if state.is_started {
            return Ok(());
        }
        let known: HashMap<_, _> = positions.iter().map(|position| (position.of(), position.next)).collect();
        let starts: Vec<_> = state.owned.iter().map(|one| (*one, known.get(one).copied())).collect();
        assign(&starts)?;
        let wanted = starts.into_iter().filter_map(|(partition, next)| Some((partition, next?)));
        state.wanted = wanted.collect();
        state.positions = state.wanted.clone();
        state.is_started = true;
        Ok(())
    }

    /// Those positions that are of our partitions, remembered as stored.
    pub fn stored(&self, positions: &[Position]) -> Vec<Position> {
        let mut state = self.state();
        let ours = |position: &&Position| state.is_started && state.owned.contains(&position.of());
        let ours: Vec<_> = positions.iter().filter(ours).copied().collect();
        state.positions.extend(ours.iter().map(|position| (position.of(), position.next)));
        ours
    }

    /// Our partitions and how far each is stored, where that is known.
    pub fn positions(&self) -> Vec<(Partition, Option<i64>)> {
        let state = self.state();
        state.owned.iter().map(|one| (*one, state.positions.get(one).copied())).collect()
    }

    /// Hands over records. Whether there is room for more.
    pub fn push(&self, records: &mut Vec<Record>) -> bool {
        let mut state = self.state();
        for record in records.drain(..) {
            state.note_start(&record);
            state.bytes += record.payload.len() + record.key.len();
            state.records.push_back(record);
        }
        let has_room = state.has_room();
        drop(state);
        self.news.notify_one();
        has_room
    }

    /// Waits until there is room, or the end; whether there is.
    pub fn wait_for_room(&self, wait: Duration) -> bool {
        let is_full = |state: &mut State| !state.has_room() && !state.is_ended;
        let waited = self.room.wait_timeout_while(self.state(), wait, is_full);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.has_room()
    }

    /// What there is for the task: everything that was assigned or revoked, or else `max` records, or as many
    /// as there are when the wait `is_over`.
    pub fn take(&self, max: usize, is_over: bool) -> Option<Result<Received, Error>> {
        let mut state = self.state();
        if let Some(failure) = &state.failure {
            return Some(Err(failure.clone()));
        }
        let revoked = std::mem::take(&mut state.revoked);
        let await_start = !state.is_started && !state.owned.is_empty();
        let tell = await_start && (is_over || !state.told);
        if tell || !revoked.is_empty() {
            state.told |= tell;
            let assigned = if tell { state.owned.clone() } else { Vec::new() };
            return Some(Ok(Received { assigned, revoked, records: Vec::new() }));
        }
        if !is_over && state.records.len() < max {
            return None;
        }
        let count = state.records.len().min(max);
        let records: Vec<_> = state.records.drain(..count).collect();
        let bytes: usize = records.iter().map(|record| record.payload.len() + record.key.len()).sum();
        state.bytes -= bytes;
        drop(state);
        self.room.notify_one();
        Some(Ok(Received { records, ..Received::default() }))
    }

    /// Waits for something that [`Self::take`] may give.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    pub fn fail(&self, failure: Error) {
        self.state().failure.get_or_insert(failure);
        self.news.notify_one();
    }

    pub fn end(&self) {
        self.state().is_ended = true;
        self.room.notify_one();
    }

    pub fn is_ended(&self) -> bool {
        self.state().is_ended
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.records.len() < RECORDS_MAX && self.bytes < BYTES_MAX
    }

    /// The client goes to the oldest record where a position lies outside of the log, which loses nothing
    /// that is there; whoever runs the Kafka should know.
    fn note_start(&mut self, record: &Record) {
        let partition = Partition { topic: record.topic, partition: record.partition };
        if let Some(wanted) = self.wanted.remove(&partition)
            && wanted != record.offset
        {
            let (topic, partition, found) = (record.topic, record.partition, record.offset);
            tracing::warn!(%topic, partition, wanted, found, "Kafka does not hold the position; read on from another");
        }
    }
}

/// Ends the thread when the task's end is dropped.
#[derive(Debug)]
pub(super) struct TaskEnd(pub Arc<Feed>);

impl Drop for TaskEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}
