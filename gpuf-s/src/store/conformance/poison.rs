//! A record that the database itself refuses does not hold up the others.

use sqlx::{ConnectOptions as _, Executor as _, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{
    samples::{heartbeats, sample},
    *,
};

const POISON: u64 = 66_666;

async fn a_refused_record_is_set_aside_and_the_others_are_stored(store: &Store) {
    let agent_id = AgentId::random().unwrap();
    let mut samples: Vec<_> = (0..50).map(|at| sample(agent_id, NOW_MS + at * 1000)).collect();
    samples[17].memory_used_bytes = POISON;
    samples[49].memory_used_bytes = POISON;
    let mut usage: Vec<_> = (0..9).map(|_| record(NOW_MS)).collect();
    usage[3].bytes = POISON;
    let offset = Offset { group: "poison".into(), topic: "t".into(), partition: 0, next: 50 };
    let batch = Batch { usage, offsets: vec![offset.clone()], ..heartbeats(samples.clone()) };
    let stored = store.ingest(&batch).await.unwrap();
    let expected = Stored { samples: 48, usage: 8, set_aside: 3, ..Stored::default() };
    assert_eq!(stored, expected);
    let again = store.ingest(&batch).await.unwrap();
    assert_eq!(again, Stored { sample_duplicates: 48, usage_duplicates: 8, ..Stored::default() });
    assert_eq!(store.offsets("poison").await.unwrap(), [offset]);
    let kept = store.set_aside(10).await.unwrap();
    let of = |topic: &str| kept.iter().filter(|one| one.topic == topic).count();
    assert_eq!((of("heartbeat"), of("usage")), (2, 1));
    assert!(
        kept.iter().all(|one| one.partition == REFUSED_PARTITION && one.reason.contains("poison")),
        "{kept:?}"
    );
    let day = Day::of_unix_ms(NOW_MS).unwrap();
    let checked = store.rebuild_day(day, Rebuild::Check).await.unwrap().unwrap();
    assert_eq!((checked.rows, checked.differences), (48, vec![]));
}

#[tokio::test]
async fn sqlite_sets_aside_what_it_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let store = Store::embedded(&data).await.unwrap();
    let file = data.file(sqlite::FILE);
    let mut beside = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    for (table, column) in [("heartbeats", "memory_used_bytes"), ("usage", "bytes")] {
        let trap = format!(
            "CREATE TRIGGER poison_{table} BEFORE INSERT ON {table} WHEN new.{column} = {POISON} \
             BEGIN SELECT raise(ABORT, 'poison'); END"
        );
        beside.execute(sqlx::AssertSqlSafe(trap)).await.unwrap();
    }
    a_refused_record_is_set_aside_and_the_others_are_stored(&store).await;
    store.close().await;
}

#[tokio::test]
async fn postgres_sets_aside_what_it_refuses() {
    let url = test_services::Postgres::shared().database().await;
    let store = postgres(&url).await;
    let mut beside = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    for (table, column) in [("heartbeats", "memory_used_bytes"), ("usage", "bytes")] {
        let trap = format!("ALTER TABLE {table} ADD CONSTRAINT poison CHECK ({column} <> {POISON})");
        beside.execute(sqlx::AssertSqlSafe(trap)).await.unwrap();
    }
    a_refused_record_is_set_aside_and_the_others_are_stored(&store).await;
    store.close().await;
}
