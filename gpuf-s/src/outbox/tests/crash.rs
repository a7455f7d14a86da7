//! What was appended is kept, whenever the process dies.

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

/// Appends for ever, and prints each number that was taken.
async fn append_until_killed(folder: &str) {
    let (outbox, scribe) = Outbox::open(&PathBuf::from(folder).join(FILE), Limits::default()).await.unwrap();
    tokio::spawn(scribe.run(CancellationToken::new()));
    let forwarder = outbox.clone();
    tokio::spawn(async move {
        loop {
            // A part is delivered, so that the cursor and the removing are under way too.
            sleep(Duration::from_millis(7)).await;
            let _ = forwarder.done(Seq(forwarder.shared.written.borrow().last.0 / 2));
        }
    });
    for number in 0.. {
        while outbox.append(entry(Topic::Requests, number)).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        println!("taken {number}");
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_was_appended_is_kept_by_a_process_that_is_killed() {
    if let Ok(folder) = env::var(FOLDER) {
        return append_until_killed(&folder).await;
    }
    for round in 0..8_u64 {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut process =
            child("what_was_appended_is_kept_by_a_process_that_is_killed", folder.path()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        let wanted = 200 + usize::try_from(fastrand::u64(0..5000)).unwrap();
        while told.len() < wanted {
            told.extend(taken(&lines.next().unwrap().unwrap()));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        told.extend(lines.map_while(Result::ok).filter_map(|line| taken(&line)));

        let bench = Bench::in_folder(folder, Limits::default()).await;
        let counts = bench.outbox.counts();
        let requests = counts.of(Topic::Requests);
        let cursor = bench.outbox.cursor();
        assert_eq!((requests.appended - requests.waiting, requests.done), (cursor.get(), cursor.get()));
        // The first of them are delivered. Some behind may be there twice: once from the file, once from
        // the journal.
        let rows = read(&bench.outbox, cursor, 1000).await;
        let rows: std::collections::HashSet<_> = rows.into_iter().map(|(_, row)| row.payload).collect();
        let lost = |number: &&u64| {
            **number >= cursor.get() && !rows.contains(&entry(Topic::Requests, **number).payload)
        };
        assert_eq!(told.iter().find(lost), None, "round {round}");
        bench.closed().await;
    }
}

fn taken(line: &str) -> Option<u64> {
    line.strip_prefix("taken ")?.parse().ok()
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
    let journals = opening::beside(&bench.path(), ".journals");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&journals), 0o700);
    let beside = fs::read_dir(bench.folder.path()).unwrap().flatten().map(|file| file.path());
    let within = fs::read_dir(&journals).unwrap().flatten().map(|file| file.path());
    for file in beside.filter(|path| *path != journals).chain(within) {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    bench.closed().await;
}
