//! The outbox on a disk that is full, and on one that was.

use std::time::Instant;

use super::*;

/// The file system takes no file longer than this, as if it were full, until it is lifted.
#[cfg(target_os = "linux")]
fn longest_file(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: plain system calls with a valid pointer; the signal is ignored so that a write fails instead.
    let done = unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit)
    };
    assert_eq!(done, 0);
}

/// In a process of its own, because the limit is the process's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    const CHILD: &str = "GPUF_TEST_OUTBOX_DISK";
    let this = "outbox::tests::disk::a_full_disk_is_told_and_survived";
    if std::env::var_os(CHILD).is_none() {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = process.args(["--exact", this]).env(CHILD, "1").status().unwrap();
        assert!(ended.success());
        return;
    }
    let bench = Bench::new(Limits::default()).await;
    longest_file(1 << 20);
    let mut kept = Vec::new();
    let begun = Instant::now();
    for number in 0..10_000 {
        match bench.outbox.append(entry_of(number)) {
            Ok(()) => kept.push(number),
            Err(Refused::Disk) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "appending blocks");
    let refused = bench.outbox.counts().of(Topic::Requests).refused[Refused::Disk as usize];
    assert_eq!((kept.len() as u64 + refused, kept.is_empty()), (10_000, false));
    assert!(refused > 9000);

    longest_file(libc::RLIM_INFINITY);
    bench.until(|counts| counts.queued == 0).await;
    bench.outbox.append(entry_of(u64::MAX)).unwrap();
    kept.push(u64::MAX);
    let bench = bench.reopened().await;
    let rows = read(&bench.outbox, Seq::START, 1000).await;
    let numbers: Vec<_> =
        rows.iter().map(|(_, row)| u64::from_le_bytes(row.key[..8].try_into().unwrap())).collect();
    assert_eq!(numbers, kept);
    bench.closed().await;
}

#[cfg(target_os = "linux")]
fn entry_of(number: u64) -> Entry {
    Entry { key: entry(Topic::Requests, number).key, ..sized(Topic::Requests, 4000) }
}

#[tokio::test]
async fn the_file_shrinks_after_a_long_outage() {
    let bench = Bench::new(Limits::default()).await;
    for _ in 0..20 {
        (0..20).for_each(|_| bench.outbox.append(sized(Topic::Heartbeats, 100_000)).unwrap());
        bench.until(|counts| counts.queued == 0).await;
    }
    // The log is copied into the database at the end.
    let bench = bench.reopened().await;
    assert!(bench.outbox.counts().file_bytes > 39_000_000);
    bench.outbox.done(Seq(400)).unwrap();
    // Some is kept for the next burst.
    bench.until(|counts| counts.file_bytes < 18_000_000).await;
    bench.closed().await;
}
