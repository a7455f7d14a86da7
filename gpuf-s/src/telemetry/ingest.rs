//! Brings what arrives on the bus into the store: in batches, each in one transaction, for as long as it takes.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    event::{Event, Row},
    pause::Pause,
    request_message,
};
use crate::{
    bus::{self, Bus, Consumer, Partition, Position, Record},
    outbox::Topic,
    store::{self, Batch, Offset, SetAside, Store, Stored},
};

/// The consumers that share the work on the topics.
pub const GROUP: &str = "heartbeat-consumer";
/// Of a record that cannot be read, so much is kept.
const SET_ASIDE_BYTES_MAX: usize = 64 * 1024;
const LAG_EVERY: Duration = Duration::from_secs(5);

/// How records are taken together, and for how long they are kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Records in one transaction.
    pub batch_records_max: usize,
    /// For a batch to fill.
    pub batch_wait: Duration,
}

/// What became of the records so far.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Heartbeats that are in the store by this process.
    pub samples: AtomicU64,
    /// Heartbeats that had been there.
    pub sample_duplicates: AtomicU64,
    /// Facts about agents.
    pub inventories: AtomicU64,
    /// Records of usage that are in the store by this process.
    pub usage: AtomicU64,
    /// Records of usage that had been there.
    pub usage_duplicates: AtomicU64,
    /// Records that cannot be read or stored.
    pub set_aside: AtomicU64,
    /// Transactions.
    pub batches: AtomicU64,
    /// Time in transactions, microseconds.
    pub busy_us: AtomicU64,
    /// Failed transactions; each was tried again.
    pub failures: AtomicU64,
    /// Records that wait on the bus as of the last look, by topic.
    pub lag: [AtomicU64; Topic::ALL.len()],
}

impl Ingested {
    fn took(&self, batch: &Batch, stored: Stored, spent: Duration) {
        let add = |count: &AtomicU64, more: u64| count.fetch_add(more, Ordering::Relaxed);
        add(&self.samples, stored.samples);
        add(&self.sample_duplicates, stored.sample_duplicates);
        add(&self.inventories, batch.inventories.len() as u64);
        add(&self.usage, stored.usage);
        add(&self.usage_duplicates, stored.usage_duplicates);
        add(&self.set_aside, stored.set_aside);
        add(&self.batches, 1);
        add(&self.busy_us, u64::try_from(spent.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The task between bus and store.
#[derive(Debug)]
pub struct Ingester {
    store: Store,
    bus: Bus,
    consumer: Consumer,
    settings: Settings,
    counts: Arc<Ingested>,
}

/// Why nothing was received.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Bus(#[from] bus::Error),
    #[error("it is not known where to begin: {0}")]
    Store(#[from] store::Error),
}

impl Ingester {
    /// From this bus into this store.
    ///
    /// # Errors
    /// When the bus cannot be read with these settings.
    pub fn new(store: Store, bus: Bus, settings: Settings) -> Result<Self, bus::Error> {
        let consumer = bus.consumer(GROUP)?;
        Ok(Self { store, bus, consumer, settings, counts: Arc::default() })
    }

    /// What it counts.
    #[must_use]
    pub fn counts(&self) -> Arc<Ingested> {
        self.counts.clone()
    }

    /// Looks from time to time how many records wait, until `closing`.
    pub fn watch_lag(&self, closing: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (gauge, counts) = (self.consumer.lag_gauge(), self.counts.clone());
        async move {
            while closing.run_until_cancelled(tokio::time::sleep(LAG_EVERY)).await.is_some() {
                let lag = gauge.read().await;
                for topic in Topic::ALL {
                    let waiting = lag.iter().filter(|(of, ..)| *of == topic).map(|(.., records)| records);
                    counts.lag[topic as usize].store(waiting.sum(), Ordering::Relaxed);
                }
            }
        }
    }

    /// Stores until `closing`; a batch whose transaction runs then is finished.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut pause = Pause::default();
        while !closing.is_cancelled() {
            match closing.run_until_cancelled(self.receive()).await {
                None => break,
                Some(Ok(records)) => {
                    pause.reset();
                    self.store_patiently(records, &closing).await;
                }
                Some(Err(error)) => {
                    if pause.begins() {
                        warn!(%error, "nothing can be received");
                    }
                    let _ = closing.run_until_cancelled(tokio::time::sleep(pause.next())).await;
                }
            }
        }
        self.consumer.close().await;
    }

    /// The next records. Partitions that are given to this consumer begin where the store has them, which
    /// it is asked for as long as it takes.
    async fn receive(&mut self) -> Result<Vec<Record>, Error> {
        let received =
            self.consumer.receive(self.settings.batch_records_max, self.settings.batch_wait).await?;
        if !received.assigned.is_empty() {
            let offsets = self.store.offsets(GROUP).await?;
            let position = |partition: &Partition| self.position(&offsets, *partition);
            let positions: Vec<_> = received.assigned.iter().filter_map(position).collect();
            self.consumer.start(&positions).await?;
        }
        Ok(received.records)
    }

    fn offset(&self, position: &Position) -> Offset {
        Offset {
            group: GROUP.to_owned(),
            topic: self.bus.topic_name(position.topic),
            partition: position.partition,
            next: position.next,
        }
    }

    fn position(&self, offsets: &[Offset], Partition { topic, partition }: Partition) -> Option<Position> {
        let name = self.bus.topic_name(topic);
        let known = offsets.iter().find(|one| one.partition == partition && one.topic == name);
        known.map(|offset| Position { topic, partition, next: offset.next })
    }

    /// Tries until the store has taken the batch: nothing is received meanwhile, so that what is on its
    /// way waits where it is safe.
    async fn store_patiently(&mut self, records: Vec<Record>, closing: &CancellationToken) {
        if records.is_empty() {
            return;
        }
        let positions = positions(&records);
        let mut batch = read(&records);
        batch.offsets = positions.iter().map(|position| self.offset(position)).collect();
        let mut pause = Pause::default();
        loop {
            let began = Instant::now();
            match self.store.ingest(&batch).await {
                Ok(stored) => {
                    self.counts.took(&batch, stored, began.elapsed());
                    break;
                }
                Err(error) => {
                    self.counts.failures.fetch_add(1, Ordering::Relaxed);
                    if pause.begins() {
                        warn!(%error, records = records.len(), "a batch waits for the store");
                    }
                    let pause = tokio::time::sleep(pause.next());
                    if closing.run_until_cancelled(pause).await.is_none() {
                        return;
                    }
                }
            }
        }
        if pause.reset() {
            info!("the store takes batches again");
        }
        if let Err(error) = self.consumer.commit(&positions).await {
            tracing::debug!(%error, "positions were not told to the bus; the store has them");
        }
    }
}

/// What `records` are to the store. One that cannot be read is set aside, and its partition moves on.
fn read(records: &[Record]) -> Batch {
    let mut batch = Batch::default();
    for record in records {
        if let Err(reason) = take(record, &mut batch) {
            batch.set_aside.push(set_aside(record, reason));
        }
    }
    batch
}

fn take(record: &Record, batch: &mut Batch) -> Result<(), String> {
    match record.topic {
        Topic::Heartbeats => {
            match Event::decode(&record.payload).map_err(|error| error.to_string())?.into_row() {
                Row::Sample(sample) => batch.samples.push(*sample),
                Row::Inventory(inventory) => batch.inventories.push(*inventory),
            }
        }
        Topic::Requests => {
            batch.usage.push(request_message::decode(&record.payload).map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

fn set_aside(record: &Record, reason: String) -> SetAside {
    let payload = &record.payload[..record.payload.len().min(SET_ASIDE_BYTES_MAX)];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SetAside {
        topic: record.topic.as_str().to_owned(),
        partition: record.partition,
        offset: record.offset,
        payload: payload.to_vec(),
        reason,
        at_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }
}

/// How far each partition is read. A batch has few of them, so they are looked for one by one.
fn positions(records: &[Record]) -> Vec<Position> {
    let mut positions: Vec<Position> = Vec::new();
    for &Record { topic, partition, offset, .. } in records {
        let next = offset + 1;
        match positions.iter_mut().find(|one| one.partition == partition && one.topic == topic) {
            Some(known) => known.next = known.next.max(next),
            None => positions.push(Position { topic, partition, next }),
        }
    }
    positions
}

#[cfg(test)]
mod tests;
