//! The whole way of records, inside one process and on real files.

use std::path::Path;

use bytes::Bytes;
use common::{
    AgentId, Dialect, Endpoint,
    message::{Heartbeat, HostSample},
};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    data_dir::DataDir,
    outbox::{Limits, Outbox},
    store::{KeyId, Outcome, UsageFilter, UsageId, UsageRecord},
    telemetry::{Event, Forwarder, Recorder, What},
};

const NOW_MS: u64 = 1_800_000_000_000;

struct Way {
    recorder: Recorder,
    store: Store,
    ingested: Arc<Ingested>,
    closing: [CancellationToken; 3],
    tasks: [JoinHandle<()>; 3],
}

impl Way {
    async fn open(folder: &Path) -> Self {
        let store = Store::embedded(&DataDir::open(folder).unwrap()).await.unwrap();
        let (outbox, scribe) = Outbox::open(&folder.join("outbox.db"), Limits::default()).await.unwrap();
        let bus = Bus::embedded();
        let settings = Settings { batch_records_max: 100, batch_wait: Duration::from_millis(5) };
        let ingester = Ingester::new(store.clone(), bus.clone(), settings).unwrap();
        let ingested = ingester.counts();
        let closing = <[CancellationToken; 3]>::default();
        let tasks = [
            tokio::spawn(Forwarder::new(outbox.clone(), bus).run(closing[0].clone())),
            tokio::spawn(scribe.run(closing[1].clone())),
            tokio::spawn(ingester.run(closing[2].clone())),
        ];
        Self { recorder: Recorder::new(outbox), store, ingested, closing, tasks }
    }

    async fn close(self) {
        for (closing, task) in self.closing.into_iter().zip(self.tasks) {
            closing.cancel();
            task.await.unwrap();
        }
        self.store.close().await;
    }

    async fn rows(&self) -> Vec<UsageId> {
        let filter = UsageFilter { limit: 1000, ..UsageFilter::default() };
        self.store.usage(&filter).await.unwrap().into_iter().map(|record| record.id).collect()
    }

    /// Waits until `count` says so, or panics.
    async fn until(&self, what: &str, mut count: impl AsyncFnMut(&Self) -> bool) {
        let wait = async {
            while !count(self).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("no {what}"));
    }
}

fn record() -> UsageRecord {
    UsageRecord {
        id: UsageId::next(NOW_MS),
        key_id: KeyId::STATIC,
        model: None,
        agent_id: None,
        engine: None,
        dialect: Dialect::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        status: 200,
        outcome: Outcome::Ok,
        prompt_tokens: None,
        completion_tokens: None,
        first_token_ms: None,
        duration_ms: 1,
        bytes: 1,
        started_unix_ms: NOW_MS,
    }
}

fn heartbeat(id: u8) -> Heartbeat {
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Heartbeat {
        id: [id; 16],
        taken_unix_ms: taken.as_millis() as u64,
        host: HostSample::default(),
        gpus: Vec::new(),
    }
}

#[tokio::test]
async fn records_of_all_threads_reach_the_store_and_the_counts_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::open(folder.path()).await;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let recorder = way.recorder.clone();
            std::thread::spawn(move || (0..100).for_each(|_| recorder.usage(&record())))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let agent = AgentId::random().unwrap();
    let twice = heartbeat(1);
    way.recorder.heartbeat(agent, twice.clone());
    way.recorder.heartbeat(agent, twice);
    way.until("400 rows", async |way| way.rows().await.len() == 400).await;
    way.until("heartbeat twice", async |way| {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        get(&way.ingested.samples) == 1 && get(&way.ingested.sample_duplicates) == 1
    })
    .await;
    way.until("forwarded", async |way| way.recorder.counts().of(Topic::Requests).waiting == 0).await;
    let counts = way.recorder.counts();
    for (topic, records) in [(Topic::Requests, 400), (Topic::Heartbeats, 2)] {
        let counts = counts.of(topic);
        assert_eq!((counts.appended, counts.done, counts.refused), (records, records, [0; 4]));
    }
    way.close().await;
}

#[tokio::test]
async fn what_waits_at_the_end_is_stored_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::open(folder.path()).await;
    (0..500).for_each(|_| way.recorder.usage(&record()));
    let ingested = way.ingested.clone();
    way.close().await;
    assert_eq!(ingested.usage.load(Ordering::Relaxed), 500);
}

#[tokio::test]
async fn what_could_not_be_stored_is_stored_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::open(folder.path()).await;
    way.store.close().await;
    let records = [record(), record()];
    records.iter().for_each(|record| way.recorder.usage(record));
    way.until("outbox", async |way| way.recorder.counts().of(Topic::Requests).waiting == 2).await;
    way.close().await;
    let next = Way::open(folder.path()).await;
    next.until("rows", async |way| way.rows().await.len() == 2).await;
    next.close().await;
}

#[tokio::test]
async fn what_a_killed_process_left_is_stored_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::open(folder.path()).await;
    let written = record();
    way.recorder.usage(&written);
    // As after a kill: no task does anything more.
    way.tasks.iter().for_each(JoinHandle::abort);
    for task in way.tasks {
        let _ = task.await;
    }
    drop((way.recorder, way.store));
    let next = Way::open(folder.path()).await;
    next.until("row", async |way| way.rows().await == [written.id]).await;
    next.close().await;
}

fn raw(topic: Topic, offset: i64, payload: &[u8]) -> Record {
    Record { topic, partition: 3, offset, key: Bytes::new(), payload: Bytes::copy_from_slice(payload) }
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_its_partition_moves_on() {
    let event = Event {
        agent_id: AgentId::random().unwrap(),
        received_unix_ms: NOW_MS,
        what: What::Heartbeat(heartbeat(2)),
    };
    let good = event.encode().unwrap();
    let records = [
        raw(Topic::Heartbeats, 7, &good),
        raw(Topic::Heartbeats, 8, b"\xff"),
        raw(Topic::Requests, 1, b"{}"),
        raw(Topic::Requests, 2, &vec![b'x'; 100_000]),
    ];
    let batch = read(&records);
    assert_eq!((batch.samples.len(), batch.usage.len(), batch.set_aside.len()), (1, 0, 3));
    let aside = &batch.set_aside[0];
    assert_eq!((aside.topic.as_str(), aside.partition, aside.offset), ("client-heartbeats", 3, 8));
    assert!(aside.reason.starts_with("no event"), "{}", aside.reason);
    assert_eq!(batch.set_aside[2].payload.len(), SET_ASIDE_BYTES_MAX);
    let positions = positions(&records);
    let next = |topic| positions.iter().find(|one| one.topic == topic).unwrap().next;
    assert_eq!((next(Topic::Heartbeats), next(Topic::Requests)), (9, 3));
}
