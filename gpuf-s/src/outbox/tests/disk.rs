//! The outbox on a disk that is full, and on one that was.

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
    let mut told_false = 0;
    for number in 0.. {
        match bench.outbox.append(entry_of(number)) {
            Ok(receipt) => match receipt.await {
                true => kept.push(number),
                false => told_false += 1,
            },
            Err(Refused::Disk) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(!kept.is_empty() && told_false > 0);
    let begun = Instant::now();
    for number in 0..10_000 {
        let _ = bench.outbox.append(entry_of(number));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "appending blocks");
    assert!(bench.outbox.counts().of(Topic::Requests).refused[Refused::Disk as usize] > 9000);
    bench.until(|counts| counts.queued == 0).await;

    longest_file(libc::RLIM_INFINITY);
    let wait = async {
        loop {
            if let Ok(receipt) = bench.outbox.append(entry_of(u64::MAX))
                && receipt.await
            {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it takes nothing though there is room");
    let bench = bench.reopened().await;
    let rows = read(&bench.outbox, Seq::START, 1000).await;
    let numbers: Vec<_> =
        rows.iter().map(|(_, row)| u64::from_le_bytes(row.key[..8].try_into().unwrap())).collect();
    assert_eq!(numbers[..kept.len()], kept);
    assert_eq!(numbers.last(), Some(&u64::MAX));
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
        let receipts: Vec<_> =
            (0..20).map(|_| bench.outbox.append(sized(Topic::Heartbeats, 100_000)).unwrap()).collect();
        for receipt in receipts {
            assert!(receipt.await);
        }
    }
    // The log is copied into the database at the end.
    let bench = bench.reopened().await;
    assert!(bench.outbox.counts().file_bytes > 39_000_000);
    bench.outbox.done(Seq(400)).unwrap();
    // Some is kept for the next burst.
    bench.until(|counts| counts.file_bytes < 18_000_000).await;
    bench.closed().await;
}
