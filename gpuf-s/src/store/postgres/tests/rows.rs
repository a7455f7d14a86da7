//! What happens to rows: parts of tables, conflicts, refusals.

use std::path::Path;

use sqlx::Executor as _;

use super::*;
use crate::store::{UnixSeconds, postgres::partitions};

/// Every file with statements, and what it declares.
const STATEMENTS: &[(&str, &[(&str, &str)])] = &[
    ("audit.rs", audit::STATEMENTS),
    ("catalogue.rs", catalogue::STATEMENTS),
    ("days.rs", days::STATEMENTS),
    ("entries.rs", entries::STATEMENTS),
    ("glances.rs", glances::STATEMENTS),
    ("ingest.rs", ingest::STATEMENTS),
    ("inventory.rs", inventory::STATEMENTS),
    ("keys.rs", keys::STATEMENTS),
    ("machines.rs", machines::STATEMENTS),
    ("reports.rs", reports::STATEMENTS),
    ("servers.rs", servers::STATEMENTS),
    ("tenants.rs", tenants::STATEMENTS),
    ("usage.rs", usage::STATEMENTS),
    ("usage_views.rs", usage_views::STATEMENTS),
];
/// Makes statements out of names of tables and columns, which cannot be prepared without them.
const WRITES_ITS_OWN: &[&str] = &["days.rs", "partitions.rs"];

#[tokio::test]
async fn a_real_server_understands_every_statement() {
    let url = test_services::Postgres::shared().database().await;
    open(&url).await.unwrap().close().await;
    let mut connection = beside(&url).await;
    for (file, statements) in STATEMENTS {
        for (name, sql) in *statements {
            let prepared = connection.prepare(sqlx::SqlSafeStr::into_sql_str(*sql)).await;
            assert!(prepared.is_ok(), "{file} {name}: {}", prepared.unwrap_err());
        }
    }
}

#[test]
fn every_statement_is_declared_where_the_test_finds_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut declaring = Vec::new();
    let sources = files.filter(|file| file.extension().is_some_and(|end| end == "rs"));
    for file in sources.filter(|file| !file.ends_with("tests.rs")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, after) = match text.split_once("\nstatements! {") {
            Some((before, rest)) => {
                declaring.push(name.clone());
                (before, rest.split_once("\n}").unwrap().1)
            }
            None => (&*text, ""),
        };
        let code = [before, after].concat();
        for verb in ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "] {
            let stray = code.contains(&format!("\"{verb}"));
            assert!(
                !stray || WRITES_ITS_OWN.contains(&&*name),
                "{name} has a statement outside statements!: {verb}"
            );
        }
    }
    declaring.sort_unstable();
    let listed: Vec<_> = STATEMENTS.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(declaring, listed);
}

/// The parts of `usage` and how many rows each has.
async fn parts(connection: &mut PgConnection) -> Vec<(String, i64)> {
    let parts = "SELECT tableoid::regclass::text COLLATE \"C\" AS part, count(*) FROM usage GROUP BY part ORDER BY part";
    sqlx::query_as(parts).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn each_record_lies_in_its_month_and_no_clock_loses_one() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    let now = UnixSeconds::now();
    let now_ms = now.0.cast_unsigned() * 1000;
    let odd = [0, 1, (1 << 48) - 2, now_ms + 400 * 86_400_000].map(record);
    let batch = [&odd[..], &[record(now_ms), record(now_ms)]].concat();
    store.insert_usage(&batch).await.unwrap();
    store.insert_usage(&batch).await.unwrap();
    assert_eq!(count(&store).await, 6);
    let mut connection = beside(&url).await;
    let month = format!("usage_{}", partitions::ahead(now)[0].suffix);
    assert_eq!(parts(&mut connection).await, [(month, 2), ("usage_default".to_owned(), 4)]);
    store.close().await;
}

#[tokio::test]
async fn a_month_that_is_made_late_takes_what_came_before_it() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    let in_a_year = UnixSeconds::now().after(Duration::from_secs(400 * 86_400));
    let early = record(in_a_year.0.cast_unsigned() * 1000);
    store.insert_usage(&[early.clone(), record(0)]).await.unwrap();
    let mut connection = beside(&url).await;
    let part = &partitions::ahead(in_a_year)[0];
    assert!(partitions::make(&mut connection, part).await.unwrap());
    assert!(!partitions::make(&mut connection, part).await.unwrap(), "it is made once");
    let month = format!("usage_{}", part.suffix);
    assert_eq!(parts(&mut connection).await, [(month, 1), ("usage_default".to_owned(), 1)]);
    store.insert_usage(&[early]).await.unwrap();
    assert_eq!(count(&store).await, 2, "it counts once wherever it lies");
    store.close().await;
}

#[tokio::test]
async fn a_month_that_two_servers_make_at_once_is_made_once() {
    let url = test_services::Postgres::shared().database().await;
    open(&url).await.unwrap().close().await;
    let part = partitions::ahead(UnixSeconds(4_000_000_000)).remove(0);
    let (mut one, mut other) = (beside(&url).await, beside(&url).await);
    let made = tokio::join!(partitions::make(&mut one, &part), partitions::make(&mut other, &part));
    assert_eq!(usize::from(made.0.unwrap()) + usize::from(made.1.unwrap()), 1);
}

#[tokio::test]
async fn batches_that_share_records_do_not_lock_each_other_out() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    let records: Vec<_> = (0..3).map(|_| record(NOW_MS)).collect();
    // Somebody has the record in the middle. From both ends, one batch would get to it from either side.
    let mut middle = beside(&url).await;
    middle.execute("BEGIN").await.unwrap();
    usage::insert(&mut middle, &records[1..2]).await.unwrap();
    let writers = [records.clone(), records.iter().rev().cloned().collect()].map(|batch: Vec<_>| {
        let store = store.clone();
        tokio::spawn(async move { store.insert_usage(&batch).await })
    });
    blocked(&url, 2).await;
    middle.execute("ROLLBACK").await.unwrap();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(count(&store).await, 3);
    store.close().await;
}

#[tokio::test]
async fn each_error_says_whether_a_retry_can_help() {
    let url = test_services::Postgres::shared().database().await;
    let mut connection = beside(&url).await;
    let mut raised = async |state: &str| {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$");
        Error::from(connection.execute(sqlx::AssertSqlSafe(raise)).await.unwrap_err())
    };
    let passing = ["40P01", "40001", "55P03", "57014", "57P01", "57P02", "57P03", "08006", "53300", "42P01"];
    for state in passing {
        assert!(matches!(raised(state).await, Error::Unavailable(_)), "{state}");
    }
    for state in ["22021", "22001", "22003", "22P02", "54000", "23502", "23503", "23514"] {
        assert!(matches!(raised(state).await, Error::Refused(_)), "{state}");
    }
    assert!(matches!(raised("23505").await, Error::Taken));
}

#[tokio::test]
async fn a_deadlock_is_worth_a_retry() {
    let url = test_services::Postgres::shared().database().await;
    let (mut one, mut other) = (beside(&url).await, beside(&url).await);
    one.execute("CREATE TABLE a (x INTEGER); CREATE TABLE b (x INTEGER)").await.unwrap();
    one.execute("BEGIN; LOCK TABLE a").await.unwrap();
    other.execute("BEGIN; LOCK TABLE b").await.unwrap();
    let ends = tokio::join!(one.execute("LOCK TABLE b"), other.execute("LOCK TABLE a"));
    let loser = ends.0.err().or(ends.1.err()).unwrap();
    assert!(matches!(Error::from(loser), Error::Unavailable(_)));
}

#[tokio::test]
async fn a_part_that_has_to_wait_for_a_reader_lets_the_writers_through_again() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    let mut reader = beside(&url).await;
    reader.execute("BEGIN; SELECT count(*) FROM usage").await.unwrap();
    let part = partitions::ahead(UnixSeconds(4_000_000_000)).remove(0);
    let mut connection = beside(&url).await;
    let records = [record(0)];
    let (made, written) =
        tokio::join!(partitions::make(&mut connection, &part), store.insert_usage(&records));
    assert!(made.is_err(), "it waited longer than it may");
    written.unwrap();
    reader.execute("COMMIT").await.unwrap();
    assert!(partitions::make(&mut connection, &part).await.unwrap());
    store.close().await;
}
