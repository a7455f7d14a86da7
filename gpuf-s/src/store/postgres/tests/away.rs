//! The database goes away in the middle of things, and comes back.

use sqlx::Executor as _;

use super::*;
use crate::store::State;

/// What callers may wait at most: the deadline, and half a second for a busy machine.
const NOTICED_IN: Duration = Duration::from_millis(2500);

/// Holds `agents` back from everybody until it is dropped.
async fn lock(url: &str) -> PgConnection {
    let mut holder = beside(url).await;
    holder.execute("BEGIN; LOCK TABLE agents IN ACCESS EXCLUSIVE MODE").await.unwrap();
    holder
}

#[tokio::test]
async fn a_database_that_is_killed_amid_a_statement_is_noticed_and_found_again() {
    let service = test_services::Postgres::private();
    let url = service.database().await;
    let store = open(&url).await.unwrap();
    store.insert_usage(&[record(NOW_MS)]).await.unwrap();
    let _lock = lock(&url).await;
    let running = tokio::spawn({
        let store = store.clone();
        async move { store.agents().await }
    });
    blocked(&url, 1).await;
    let began = Instant::now();
    service.kill();
    let cut = running.await.unwrap();
    assert!(matches!(cut, Err(Error::Unavailable(_))), "{cut:?}");
    assert!(began.elapsed() < NOTICED_IN, "{:?}", began.elapsed());
    assert_eq!(store.state(), State::Away);
    let refused = store.keys().await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    service.restart();
    eventually("it is found again without being asked", async || store.is_ready()).await;
    assert_eq!(store.agents().await.unwrap(), []);
    assert_eq!(count(&store).await, 1);
    store.close().await;
}

#[tokio::test]
async fn a_database_that_is_stopped_is_noticed_and_found_again() {
    let service = test_services::Postgres::private();
    let url = service.database().await;
    let store = open(&url).await.unwrap();
    // One connection that was used a moment ago, and the rest to be made.
    store.keys().await.unwrap();
    service.stop();
    for _ in 0..3 {
        let began = Instant::now();
        let records = [record(NOW_MS)];
        let (read, write) = tokio::join!(store.keys(), store.insert_usage(&records));
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        assert!(matches!(write, Err(Error::Unavailable(_))), "{write:?}");
        assert!(began.elapsed() < NOTICED_IN, "{:?}", began.elapsed());
    }
    eventually("it is known to be away", async || store.state() == State::Away).await;
    service.go_on();
    eventually("it is found again without being asked", async || store.is_ready()).await;
    assert_eq!(store.keys().await.unwrap(), []);
    store.insert_usage(&[record(NOW_MS)]).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_statement_behind_anothers_lock_gives_up_in_time_here_and_there() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    let lock = lock(&url).await;
    let began = Instant::now();
    let (write, read) = tokio::join!(store.agents(), store.keys());
    assert!(matches!(write, Err(Error::Unavailable(_))), "{write:?}");
    assert!(began.elapsed() < NOTICED_IN, "{:?}", began.elapsed());
    assert_eq!(read.unwrap(), []);
    assert!(store.is_ready(), "a lock is no reason to call the database away");
    blocked(&url, 0).await;
    drop(lock);
    eventually("it works", async || store.agents().await.is_ok()).await;
    store.close().await;
}

#[tokio::test]
async fn callers_who_leave_take_no_connection_with_them() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    let holder = lock(&url).await;
    let connections = i64::from(DESK_CONNECTIONS_MAX);
    let callers: Vec<_> = (0..connections)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.agents().await })
        })
        .collect();
    blocked(&url, connections).await;
    for caller in &callers {
        caller.abort();
    }
    // All connections were taken: a pool that waited for their answers would have none to give.
    assert_eq!(store.keys().await.unwrap(), []);
    drop(holder);
    store.close().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_database_that_is_stopped() {
    let service = test_services::Postgres::private();
    let store = open(&service.database().await).await.unwrap();
    store.keys().await.unwrap();
    service.stop();
    let began = Instant::now();
    store.close().await;
    assert!(began.elapsed() < CLOSE_DEADLINE + Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(matches!(store.keys().await, Err(Error::Unavailable(_))));
    service.go_on();
}
