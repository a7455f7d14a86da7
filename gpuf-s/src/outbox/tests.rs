//! The outbox keeps what it said it has.

mod crash;
mod disk;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::*;

/// An outbox with its scribe, in a folder of its own.
struct Bench {
    outbox: Outbox,
    scribe: JoinHandle<()>,
    closing: CancellationToken,
    folder: Arc<tempfile::TempDir>,
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        Self::in_folder(Arc::new(tempfile::tempdir().unwrap()), limits).await
    }

    async fn in_folder(folder: Arc<tempfile::TempDir>, limits: Limits) -> Self {
        let (outbox, scribe) = Outbox::open(&folder.path().join(FILE), limits).await.unwrap();
        let closing = CancellationToken::new();
        let scribe = tokio::spawn(scribe.run(closing.clone()));
        Self { outbox, scribe, closing, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    async fn closed(self) -> Arc<tempfile::TempDir> {
        self.closing.cancel();
        self.scribe.await.unwrap();
        self.folder
    }

    async fn reopened(self) -> Self {
        let folder = self.closed().await;
        Self::in_folder(folder, Limits::default()).await
    }

    /// Appends numbered entries of a topic, and waits until they are in the file.
    async fn append(&self, topic: Topic, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| self.outbox.append(entry(topic, number)).unwrap());
        self.until(|counts| counts.queued == 0).await;
    }

    /// Waits until the counts are as they should be.
    async fn until(&self, what: impl Fn(&Counts) -> bool) {
        let wait = async {
            while !what(&self.outbox.counts()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(seen.is_ok(), "still {:?}", self.outbox.counts());
    }
}

fn entry(topic: Topic, number: u64) -> Entry {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Entry { topic, key, payload: Bytes::copy_from_slice(format!("number {number}").as_bytes()) }
}

fn sized(topic: Topic, bytes: usize) -> Entry {
    Entry { topic, key: [7; 16], payload: vec![b'x'; bytes].into() }
}

/// Everything after a place, page by page.
async fn read(outbox: &Outbox, mut after: Seq, page: usize) -> Vec<(Seq, Entry)> {
    let mut read = Vec::new();
    loop {
        let entries = outbox.next(after, page).await.unwrap();
        let Some((last, _)) = entries.last() else { return read };
        after = *last;
        read.extend(entries);
    }
}

fn numbered(range: std::ops::Range<u64>) -> Vec<(Seq, Entry)> {
    range.map(|number| (Seq(number + 1), entry(Topic::Requests, number))).collect()
}

#[tokio::test]
async fn entries_come_out_in_the_order_in_which_they_came_in() {
    let bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..1000).await;
    assert_eq!(read(&bench.outbox, Seq::START, 7).await, numbered(0..1000));
    assert_eq!(read(&bench.outbox, Seq(990), 1000).await, numbered(990..1000));
    bench.closed().await;
}

#[tokio::test]
async fn what_is_too_old_for_memory_is_read_from_the_file() {
    let bench = Bench::new(Limits::default()).await;
    for start in (0..20_000).step_by(5000) {
        bench.append(Topic::Requests, start..start + 5000).await;
    }
    assert!(bench.outbox.shared.recent().after(Seq::START, 1).is_none());
    assert_eq!(read(&bench.outbox, Seq::START, 3000).await, numbered(0..20_000));
    bench.closed().await;
}

#[tokio::test]
async fn entries_counts_and_cursor_outlive_the_process() {
    let mut bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..100).await;
    bench.append(Topic::Heartbeats, 0..10).await;
    bench.outbox.done(Seq(40)).unwrap();
    bench = bench.reopened().await;
    assert_eq!(bench.outbox.cursor(), Seq(40));
    let counts = bench.outbox.counts();
    let requests = counts.of(Topic::Requests);
    assert_eq!((requests.appended, requests.done, requests.waiting), (100, 40, 60));
    assert_eq!(requests.waiting_bytes, 60 * "number 40".len() as u64);
    assert_eq!(counts.of(Topic::Heartbeats).waiting, 10);
    assert_eq!(read(&bench.outbox, Seq(40), 1000).await[..60], numbered(40..100));

    bench.outbox.done(Seq(110)).unwrap();
    bench = bench.reopened().await;
    assert_eq!(bench.outbox.cursor(), Seq(110));
    bench.append(Topic::Requests, 110..111).await;
    let counts = bench.outbox.counts();
    assert_eq!(counts.of(Topic::Requests).appended, 101);
    assert_eq!((counts.of(Topic::Heartbeats).done, counts.of(Topic::Heartbeats).waiting), (10, 0));
    assert_eq!(read(&bench.outbox, Seq(110), 10).await, numbered(110..111));
    bench.closed().await;
}

#[tokio::test]
async fn a_cursor_never_skips_what_is_not_there_yet_and_never_goes_back() {
    let bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..10).await;
    bench.outbox.done(Seq(1_000_000)).unwrap();
    assert_eq!(bench.outbox.cursor(), Seq(10));
    bench.outbox.done(Seq(3)).unwrap();
    assert_eq!(bench.outbox.cursor(), Seq(10));
    bench.append(Topic::Requests, 10..12).await;
    assert_eq!(read(&bench.outbox, bench.outbox.cursor(), 100).await, numbered(10..12));
    bench.until(|counts| counts.of(Topic::Requests).done == 10).await;
    bench.closed().await;
}

#[tokio::test]
async fn what_is_delivered_is_removed_and_the_rest_stays() {
    let bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..3000).await;
    bench.outbox.done(Seq(2500)).unwrap();
    bench.until(|_| bench.outbox.shared.room.entries() == 500).await;
    let bench = bench.reopened().await;
    assert_eq!(bench.outbox.shared.room.entries(), 500);
    assert_eq!(read(&bench.outbox, Seq::START, 1000).await, numbered(2500..3000));
    bench.closed().await;
}

#[tokio::test]
async fn a_full_outbox_refuses_and_keeps_room_for_requests() {
    let limits = Limits { entries_max: 100, requests_percent: 20, ..Limits::default() };
    let bench = Bench::new(limits).await;
    bench.append(Topic::Heartbeats, 0..80).await;
    assert_eq!(bench.outbox.append(entry(Topic::Heartbeats, 80)).unwrap_err(), Refused::Full);
    bench.append(Topic::Requests, 80..100).await;
    assert_eq!(bench.outbox.append(entry(Topic::Requests, 100)).unwrap_err(), Refused::Full);
    let counts = bench.outbox.counts();
    for topic in Topic::ALL {
        assert_eq!(counts.of(topic).refused, [1, 0, 0, 0], "{topic}");
    }
    bench.outbox.done(Seq(50)).unwrap();
    bench.until(|_| bench.outbox.shared.room.entries() == 50).await;
    bench.append(Topic::Heartbeats, 100..130).await;
    assert_eq!(bench.outbox.append(entry(Topic::Heartbeats, 130)).unwrap_err(), Refused::Full);
    bench.closed().await;
}

#[tokio::test]
async fn a_full_outbox_is_as_full_after_a_restart() {
    let limits = Limits { bytes_max: 100_000, requests_percent: 0, ..Limits::default() };
    let bench = Bench::new(limits).await;
    let fits =
        |outbox: &Outbox| (0..).take_while(|_| outbox.append(sized(Topic::Heartbeats, 936)).is_ok()).count();
    assert_eq!(fits(&bench.outbox), 100);
    bench.until(|counts| counts.queued == 0).await;
    let folder = bench.closed().await;
    let bench = Bench::in_folder(folder, limits).await;
    assert_eq!(fits(&bench.outbox), 0);
    bench.outbox.done(Seq(10)).unwrap();
    bench.until(|_| bench.outbox.shared.room.entries() == 90).await;
    assert_eq!(fits(&bench.outbox), 10);
    bench.closed().await;
}

#[tokio::test]
async fn a_payload_that_is_too_long_is_refused() {
    let bench = Bench::new(Limits::default()).await;
    bench.outbox.append(sized(Topic::Requests, PAYLOAD_BYTES_MAX)).unwrap();
    let longer = bench.outbox.append(sized(Topic::Requests, PAYLOAD_BYTES_MAX + 1));
    assert_eq!(longer.unwrap_err(), Refused::TooLong);
    bench.closed().await;
}

#[tokio::test]
async fn what_waits_at_the_end_is_committed_and_what_comes_later_is_refused() {
    let bench = Bench::new(Limits::default()).await;
    (0..500).for_each(|number| bench.outbox.append(entry(Topic::Heartbeats, number)).unwrap());
    let outbox = bench.outbox.clone();
    let folder = bench.closed().await;
    assert_eq!(outbox.append(entry(Topic::Requests, 0)).unwrap_err(), Refused::Closing);
    assert!(matches!(outbox.next(Seq::START, 1).await, Err(Error::Closed)));
    assert!(matches!(outbox.done(Seq(1)), Err(Error::Closed)));
    outbox.wait_past(Seq(1_000_000)).await;
    let bench = Bench::in_folder(folder, Limits::default()).await;
    assert_eq!(bench.outbox.counts().of(Topic::Heartbeats).waiting, 500);
    bench.closed().await;
}

#[tokio::test]
async fn what_no_scribe_wrote_is_taken_up_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, scribe) = Outbox::open(&folder.path().join(FILE), Limits::default()).await.unwrap();
    outbox.append(entry(Topic::Requests, 0)).unwrap();
    drop(scribe);
    outbox.wait_past(Seq::START).await;
    assert_eq!(outbox.append(entry(Topic::Requests, 1)), Err(Refused::Closing));
    drop(outbox);
    let bench = Bench::in_folder(Arc::new(folder), Limits::default()).await;
    assert_eq!(read(&bench.outbox, Seq::START, 10).await, numbered(0..1));
    bench.closed().await;
}

#[tokio::test]
async fn the_forwarder_is_woken_by_a_commit() {
    let bench = Bench::new(Limits::default()).await;
    let outbox = bench.outbox.clone();
    let woken = tokio::spawn(async move { outbox.wait_past(Seq(1)).await });
    bench.append(Topic::Requests, 0..1).await;
    assert!(!woken.is_finished());
    bench.append(Topic::Requests, 1..2).await;
    woken.await.unwrap();
    bench.closed().await;
}
