//! What every bus must do, as functions over an opened, empty bus.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use bytes::Bytes;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

/// Settings for the Kafka at `servers`, with topics that no other test has.
pub(super) fn settings(servers: &str, options: &[(&str, &str)]) -> KafkaSettings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    KafkaSettings {
        servers: servers.into(),
        options: options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        topic_prefix: format!("test-{}-{number}.", std::process::id()),
        partitions: 4,
    }
}

pub(super) fn entry(topic: Topic, key: u8, number: u32) -> Entry {
    Entry { topic, key: [key; 16], payload: Bytes::copy_from_slice(&number.to_le_bytes()) }
}

pub(super) fn number(record: &Record) -> u32 {
    u32::from_le_bytes(record.payload[..].try_into().unwrap())
}

/// Entries of both topics and ten keys, numbered.
pub(super) fn entries(numbers: std::ops::Range<u32>) -> Vec<Entry> {
    let topic = |number| if number % 3 == 0 { Topic::Requests } else { Topic::Heartbeats };
    numbers.map(|number| entry(topic(number), (number % 10) as u8, number)).collect()
}

/// A consumer with a store, which is what it committed.
pub(super) struct Reader {
    pub consumer: Consumer,
    pub stored: BTreeMap<Partition, i64>,
    pub records: Vec<Record>,
    pub owned: Vec<Partition>,
}

impl Reader {
    pub fn new(bus: &Bus, group: &str) -> Self {
        let consumer = bus.consumer(group).unwrap();
        Self { consumer, stored: BTreeMap::new(), records: Vec::new(), owned: Vec::new() }
    }

    pub fn positions(&self) -> Vec<Position> {
        let position = |(one, next): (&Partition, &i64)| Position {
            topic: one.topic,
            partition: one.partition,
            next: *next,
        };
        self.stored.iter().map(position).collect()
    }

    /// One round: what came is kept, stored and committed.
    pub async fn turn(&mut self, max: usize, wait: Duration) {
        let received = self.consumer.receive(max, wait).await.unwrap();
        if !received.revoked.is_empty() {
            self.owned.clear();
        }
        if !received.assigned.is_empty() {
            let positions = self.positions();
            self.consumer.start(&positions).await.unwrap();
            self.owned.clone_from(&received.assigned);
        }
        for record in &received.records {
            let partition = Partition { topic: record.topic, partition: record.partition };
            self.stored.insert(partition, record.offset + 1);
        }
        self.consumer.commit(&self.positions()).await.unwrap();
        self.records.extend(received.records);
    }

    pub async fn until(&mut self, what: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !what(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} records, {} partitions",
                self.records.len(),
                self.owned.len()
            );
            self.turn(1000, SHORT).await;
        }
    }

    pub fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<_> = self.records.iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

async fn what_is_published_is_received_in_the_order_of_its_key(bus: &Bus) {
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move {
        for start in (0..1000).step_by(100) {
            publisher.publish(&entries(start..start + 100)).await.unwrap();
        }
    });
    let mut reader = Reader::new(bus, "order");
    reader.until(|reader| reader.records.len() == 1000).await;
    publishing.await.unwrap();
    assert_eq!(reader.numbers(), (0..1000).collect::<Vec<_>>());
    let mut last = BTreeMap::new();
    for record in &reader.records {
        let sent = &entries(number(record)..number(record) + 1)[0];
        assert_eq!((record.topic, &record.key[..]), (sent.topic, &sent.key[..]));
        let before = last.insert((record.topic, record.key.clone()), number(record));
        assert!(before < Some(number(record)), "{before:?} before {record:?}");
    }
    reader.consumer.close().await;
}

async fn nothing_comes_before_the_start(bus: &Bus) {
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..10)).await });
    let mut reader = Reader::new(bus, "start");
    let first = reader.consumer.receive(10, PATIENCE).await.unwrap();
    assert!(!first.assigned.is_empty() && first.records.is_empty(), "{first:?}");
    let again = reader.consumer.receive(10, SHORT).await.unwrap();
    assert_eq!((again.assigned, again.records), (first.assigned, vec![]));
    reader.until(|reader| reader.records.len() == 10).await;
    publishing.await.unwrap().unwrap();
    reader.consumer.close().await;
}

async fn it_returns_when_there_are_enough_or_when_the_wait_is_over(bus: &Bus) {
    let publisher = bus.clone();
    let mut reader = Reader::new(bus, "batches");
    reader.until(|reader| !reader.owned.is_empty()).await;
    let begun = Instant::now();
    assert_eq!(reader.consumer.receive(10, SHORT).await.unwrap(), Received::default());
    assert!(begun.elapsed() >= SHORT);
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..25)).await });
    let begun = Instant::now();
    reader.turn(10, PATIENCE).await;
    reader.turn(10, PATIENCE).await;
    assert_eq!(reader.records.len(), 20);
    assert!(begun.elapsed() < PATIENCE);
    reader.until(|reader| reader.records.len() == 25).await;
    publishing.await.unwrap().unwrap();
    reader.consumer.close().await;
}

async fn the_lag_is_what_is_not_committed(bus: &Bus) {
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..30)).await });
    let mut reader = Reader::new(bus, "lag");
    let mut received = Vec::new();
    let begun = Instant::now();
    while received.len() < 30 {
        assert!(begun.elapsed() < PATIENCE);
        let came = reader.consumer.receive(30, SHORT).await.unwrap();
        if !came.assigned.is_empty() {
            reader.consumer.start(&[]).await.unwrap();
        }
        received.extend(came.records);
    }
    let behind = |lags: Vec<(Topic, i32, u64)>| lags.iter().map(|(_, _, lag)| lag).sum::<u64>();
    assert_eq!(behind(reader.consumer.lag().await), 30);
    for record in &received[..10] {
        let next = record.offset + 1;
        let position = Position { topic: record.topic, partition: record.partition, next };
        reader.consumer.commit(&[position]).await.unwrap();
    }
    assert_eq!(behind(reader.consumer.lag_gauge().read().await), 20);
    for record in &received {
        let next = record.offset + 1;
        let position = Position { topic: record.topic, partition: record.partition, next };
        reader.consumer.commit(&[position]).await.unwrap();
    }
    assert_eq!(behind(reader.consumer.lag().await), 0);
    publishing.await.unwrap().unwrap();
    reader.consumer.close().await;
}

async fn what_is_not_committed_is_not_lost_with_its_consumer(bus: &Bus) {
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move {
        // As the forwarder does: what is not acknowledged is sent again.
        while publisher.publish(&entries(0..50)).await.is_err() {}
    });
    let mut first = Reader::new(bus, "handed over");
    let mut received = Vec::new();
    while received.is_empty() {
        let came = first.consumer.receive(1, SHORT).await.unwrap();
        if !came.assigned.is_empty() {
            first.consumer.start(&[]).await.unwrap();
        }
        received = came.records;
    }
    first.consumer.close().await;
    let mut second = Reader::new(bus, "handed over");
    second.until(|reader| reader.records.len() >= 50).await;
    publishing.await.unwrap();
    let mut numbers = second.numbers();
    numbers.dedup();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    second.consumer.close().await;
}

/// Each over a bus of its own.
macro_rules! suite {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                let bus = super::Bus::embedded();
                super::timeout(super::PATIENCE, super::$name(&bus)).await.unwrap();
            })+
        }

        mod kafka {
            $(#[tokio::test]
            async fn $name() {
                let servers = tokio::task::spawn_blocking(|| test_services::Kafka::shared().bootstrap());
                let settings = super::settings(servers.await.unwrap(), &[]);
                let bus = super::Bus::kafka(&settings).unwrap();
                super::timeout(super::PATIENCE, super::$name(&bus)).await.unwrap();
                bus.close().await;
            })+
        }
    };
}

suite!(
    what_is_published_is_received_in_the_order_of_its_key,
    nothing_comes_before_the_start,
    it_returns_when_there_are_enough_or_when_the_wait_is_over,
    the_lag_is_what_is_not_committed,
    what_is_not_committed_is_not_lost_with_its_consumer,
);
