//! The embedded database against the conformance suite.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use common::{Dialect, Endpoint};

use super::*;
use crate::store::{KeyId, Outcome, Store, UsageFilter, UsageId, UsageRecord};

const CHILD: &str = "GPUF_STORE_TEST_FOLDER";
const MIGRATING_CHILD: &str = "GPUF_STORE_TEST_MIGRATED_FOLDER";

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

fn folder() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    (folder, data)
}

fn line() -> AuditLine {
    AuditLine { at: UnixSeconds(1), actor: "a".into(), action: "b".into(), subject: "c".into(), detail: None }
}

async fn reason(store: Result<Store, Error>) -> String {
    match store {
        Err(Error::Open { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_written_is_there_at_the_next_start() {
    let (_folder, data) = folder();
    let store = Store::embedded(&data).await.unwrap();
    store.audit(&line()).await.unwrap();
    store.close().await;
    let again = Store::embedded(&data).await.unwrap();
    assert_eq!(again.audit_lines(9).await.unwrap(), [line()]);
}

/// Run by [`usage_outlives_a_killed_process`] in a process of its own; passes at once in this one.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = Store::embedded(&DataDir::open(path.as_ref()).unwrap()).await.unwrap();
    store.insert_usage(&vec![record(); 1]).await.unwrap();
    store.insert_usage(&(0..300).map(|_| record()).collect::<Vec<_>>()).await.unwrap();
    println!("written");
    std::future::pending::<()>().await;
}

/// Run by [`processes_that_start_at_once_migrate_once`] in processes of its own; passes at once in this one.
#[tokio::test]
async fn the_process_that_migrates() {
    let Ok(path) = std::env::var(MIGRATING_CHILD) else { return };
    let store = Store::embedded(&DataDir::open(path.as_ref()).unwrap()).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn processes_that_start_at_once_migrate_once() {
    let (folder, _data) = folder();
    let start = |_| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::the_process_that_migrates"])
            .env(MIGRATING_CHILD, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    for mut child in (0..6).map(start).collect::<Vec<_>>() {
        assert!(child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn usage_outlives_a_killed_process() {
    let (folder, data) = folder();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sqlite::tests::the_process_that_is_killed", "--nocapture"])
        .env(CHILD, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("written")), "it ended before it had written");
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Store::embedded(&data).await.unwrap();
    let filter = UsageFilter { limit: 1000, ..UsageFilter::default() };
    assert_eq!(store.usage(&filter).await.unwrap().len(), 301);
}

#[tokio::test]
async fn a_write_behind_anothers_lock_gives_up_in_time_and_reads_go_on() {
    let (_folder, data) = folder();
    let store = Store::embedded(&data).await.unwrap();
    store.audit(&line()).await.unwrap();
    let other = pool(&data.file(FILE), SqliteSynchronous::Normal, 1);
    let lock = other.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let (began, records) = (Instant::now(), [record()]);
    let (write, read) = tokio::join!(store.insert_usage(&records), store.audit_lines(1));
    assert!(matches!(write, Err(Error::Unavailable(_))), "{write:?}");
    assert!(began.elapsed() < STATEMENT_DEADLINE + Duration::from_millis(500));
    assert_eq!(read.unwrap().len(), 1);
    lock.rollback().await.unwrap();
    store.insert_usage(&records).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up() {
    let answer = in_time(std::future::pending::<Result<(), sqlx::Error>>()).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let (_folder, data) = folder();
    let store = Store::embedded(&data).await.unwrap();
    store.close().await;
    assert!(matches!(store.keys().await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_in_words() {
    let (_folder, data) = folder();
    let store = Sqlite::open(&data).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999999, 'later', TRUE, x'00', 0)";
    sqlx::query(later).execute(&store.desk).await.unwrap();
    store.close().await;
    assert!(reason(Store::embedded(&data).await).await.contains("later version"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (_folder, data) = folder();
    let content = b"somebody's notes, and quite a lot of them, so that no header fits".repeat(99);
    data.write(FILE, &content).unwrap();
    assert!(reason(Store::embedded(&data).await).await.contains("not a database"));
    assert_eq!(std::fs::read(data.file(FILE)).unwrap(), content);
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_and_its_companions_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, data) = folder();
    let store = Store::embedded(&data).await.unwrap();
    store.insert_usage(&[record()]).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 2, "no write-ahead log: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn the_oldest_audit_lines_make_room() {
    let (_folder, data) = folder();
    let store = Sqlite::open(&data).await.unwrap();
    store.audit(&line()).await.unwrap();
    let last = "INSERT INTO audit (id, at_unix, actor, action, subject) VALUES (100001, 2, 'a', 'b', 'c')";
    sqlx::query(last).execute(&store.desk).await.unwrap();
    store.audit(&line()).await.unwrap();
    assert_eq!(store.audit_lines(9).await.unwrap().len(), 2);
}
