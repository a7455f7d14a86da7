//! What a receipt said is true, whenever the process dies.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use super::*;

/// Tells this test binary to be the process that is killed, and in which folder.
const FOLDER: &str = "GPUF_TEST_OUTBOX_FOLDER";

/// This test again, in a process of its own.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("outbox::tests::crash::{test}"), "--nocapture"]);
    command.env(FOLDER, folder).stdout(Stdio::piped());
    command
}

/// Appends for ever, and prints each number whose receipt said `true`.
async fn append_until_killed(folder: &str) {
    let (outbox, scribe) = Outbox::open(&PathBuf::from(folder).join(FILE), Limits::default()).await.unwrap();
    tokio::spawn(scribe.run(CancellationToken::new()));
    let forwarder = outbox.clone();
    tokio::spawn(async move {
        loop {
            // Every other entry is delivered, so that the cursor and the removing are under way too.
            sleep(Duration::from_millis(7)).await;
            let _ = forwarder.done(Seq(forwarder.shared.written.borrow().last.0 / 2));
        }
    });
    let first = outbox.shared.written.borrow().last.0;
    let mut receipts = std::collections::VecDeque::new();
    for number in first.. {
        receipts.push_back((number, outbox.append(entry(Topic::Requests, number)).unwrap()));
        if receipts.len() > 100 {
            let (number, receipt) = receipts.pop_front().unwrap();
            assert!(receipt.await);
            println!("committed {number}");
        }
    }
}

#[tokio::test]
async fn a_receipt_is_kept_by_a_process_that_is_killed() {
    if let Ok(folder) = env::var(FOLDER) {
        return append_until_killed(&folder).await;
    }
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut known_done = 0;
    for round in 0..8_u64 {
        let mut process =
            child("a_receipt_is_kept_by_a_process_that_is_killed", folder.path()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        let wanted = 200 + usize::try_from(fastrand::u64(0..2000)).unwrap();
        while told.len() < wanted {
            told.extend(committed(&lines.next().unwrap().unwrap()));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        told.extend(lines.map_while(Result::ok).filter_map(|line| committed(&line)));

        let bench = Bench::in_folder(folder.clone(), Limits::default()).await;
        let cursor = bench.outbox.cursor().get();
        assert!(cursor >= known_done, "the cursor went back");
        known_done = cursor;
        let rows = read(&bench.outbox, bench.outbox.cursor(), 1000).await;
        for (at, (seq, row)) in rows.iter().enumerate() {
            assert_eq!(seq.get(), cursor + 1 + at as u64, "round {round}: a gap");
            assert_eq!(*row, entry(Topic::Requests, seq.get() - 1), "round {round}");
        }
        let last = cursor + rows.len() as u64;
        assert!(
            told.iter().all(|number| *number < last),
            "round {round}: {last} rows, told {:?}",
            told.last()
        );
        let counts = bench.outbox.counts();
        let requests = counts.of(Topic::Requests);
        assert_eq!((requests.appended, requests.done), (last, cursor));
        bench.closed().await;
    }
}

fn committed(line: &str) -> Option<u64> {
    line.strip_prefix("committed ")?.parse().ok()
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    if let Ok(folder) = env::var(FOLDER) {
        let error = Outbox::open(&PathBuf::from(folder).join(FILE), Limits::default()).await.unwrap_err();
        println!("told: {error}");
        return;
    }
    let bench = Bench::new(Limits::default()).await;
    let output =
        child("a_second_process_is_told_that_the_file_is_in_use", bench.folder.path()).output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("in use by another process"), "{output}");
    bench.append(Topic::Requests, 0..1).await;
    assert!(matches!(Outbox::open(&bench.path(), Limits::default()).await, Err(Error::InUse { .. })));
    let bench = bench.reopened().await;
    bench.closed().await;
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside() {
    let bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..500).await;
    let path = bench.path();
    let folder = bench.closed().await;
    let whole = fs::read(&path).unwrap();
    let no_database = vec![b'x'; 4096];
    let torn = [&whole[..2048], &vec![0xa5; whole.len() - 2048][..]].concat();
    for (at, damaged) in [no_database, torn].into_iter().enumerate() {
        fs::write(&path, &damaged).unwrap();
        let bench = Bench::in_folder(folder.clone(), Limits::default()).await;
        assert_eq!(bench.outbox.counts().of(Topic::Requests).appended, 0);
        bench.append(Topic::Requests, 0..3).await;
        bench.closed().await;
        let aside = fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.path()).filter(|file| {
            file.to_string_lossy().contains(".damaged-") && fs::read(file).unwrap() == damaged
        });
        assert_eq!(aside.count(), 1, "damage {at}");
    }
}

#[tokio::test]
async fn damage_that_shows_later_is_moved_aside_at_the_next_start() {
    let bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..3).await;
    opening::mark_damaged(&bench.path());
    let bench = bench.reopened().await;
    assert_eq!(bench.outbox.counts().of(Topic::Requests).appended, 0);
    let bench = bench.reopened().await;
    bench.append(Topic::Requests, 0..1).await;
    bench.closed().await;
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new(Limits::default()).await;
    bench.append(Topic::Requests, 0..3).await;
    for file in fs::read_dir(bench.folder.path()).unwrap().flatten() {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    bench.closed().await;
}
