//! Usage: batched, patient, and counted when lost.

use common::{Dialect, Endpoint};

use super::*;
use crate::{
    data_dir::DataDir,
    store::{KeyId, Outcome, UsageFilter, UsageId},
};

struct Bench {
    store: Store,
    writer: UsageWriter,
    scribe: tokio::task::JoinHandle<()>,
    closing: CancellationToken,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
        let (writer, scribe) = UsageWriter::new(store.clone());
        let closing = CancellationToken::new();
        let scribe = tokio::spawn(scribe.run(closing.clone()));
        Self { store, writer, scribe, closing, folder }
    }

    async fn ended(&mut self) {
        (&mut self.scribe).await.unwrap();
    }

    /// Waits until the store has so many rows.
    async fn has_rows(&self, rows: usize) {
        let wait = async {
            while self.rows().await < rows {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the rows did not come");
    }

    async fn rows(&self) -> usize {
        let mut filter = UsageFilter { limit: 1000, ..UsageFilter::default() };
        let mut rows = 0;
        loop {
            let page = self.store.usage(&filter).await.unwrap();
            let Some(last) = page.last() else { return rows };
            rows += page.len();
            filter.before = Some(last.id);
        }
    }
}

fn record() -> UsageRecord {
    let started_unix_ms = 1_800_000_000_000;
    UsageRecord {
        id: UsageId::next(started_unix_ms),
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
        started_unix_ms,
    }
}

#[tokio::test]
async fn records_reach_the_store_by_themselves() {
    let bench = Bench::new().await;
    bench.writer.record(record());
    bench.has_rows(1).await;
    assert_eq!(bench.writer.waiting(), 0);
}

#[tokio::test]
async fn what_waits_at_the_end_is_stored() {
    let mut bench = Bench::new().await;
    for _ in 0..2500 {
        bench.writer.record(record());
    }
    bench.closing.cancel();
    bench.ended().await;
    assert_eq!(bench.rows().await, 2500);
}

#[tokio::test]
async fn records_of_other_threads_are_stored_too() {
    let bench = Bench::new().await;
    let threads = (0..4).map(|_| {
        let writer = bench.writer.clone();
        std::thread::spawn(move || (0..500).for_each(|_| writer.record(record())))
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    bench.has_rows(2000).await;
    assert_eq!(bench.writer.stored(), 2000);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_never_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
    let (writer, scribe) = UsageWriter::new(store);
    for _ in 0..QUEUE_RECORDS_MAX + 3 {
        writer.record(record());
    }
    assert_eq!(writer.lost(Lost::QueueFull), 3);
    assert_eq!(writer.waiting(), QUEUE_RECORDS_MAX);
    drop(scribe);
    writer.record(record());
    assert_eq!(writer.lost(Lost::Closing), 1);
}

#[tokio::test]
async fn records_wait_for_a_store_that_is_away_and_are_counted_at_the_end() {
    let bench = Bench::new().await;
    bench.store.close().await;
    tokio::time::pause();
    bench.writer.record(record());
    sleep(Duration::from_secs(30)).await;
    assert_eq!(Lost::ALL.map(|why| bench.writer.lost(why)), [0, 0, 0]);
    bench.writer.record(record());
    bench.closing.cancel();
    bench.scribe.await.unwrap();
    assert_eq!(bench.writer.lost(Lost::Closing), 2);
    drop(bench.folder);
}
