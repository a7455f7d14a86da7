//! PostgreSQL.

use test_services::{Postgres, psql};

use super::process::{are_gone, stand_still};

#[tokio::test]
async fn every_test_gets_an_empty_database_of_the_shared_server() {
    let postgres = Postgres::shared();
    let (one, other) = (postgres.database().await, postgres.database().await);
    assert_ne!(one, other);
    psql(&one, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").await;
    assert_eq!(psql(&one, "SELECT n FROM t").await, "7");
    assert_eq!(psql(&other, "SELECT count(*) FROM pg_tables WHERE tablename = 't'").await, "0");
    assert!(std::panic::catch_unwind(|| postgres.stop()).is_err(), "others use it");
}

#[tokio::test]
async fn postgres_keeps_a_question_until_it_goes_on() {
    let postgres = Postgres::private();
    let url = postgres.database().await;
    postgres.stop();
    let processes = postgres.processes();
    assert!(processes.len() > 3, "the server and its workers: {processes:?}");
    assert!(stand_still(&processes));
    let asked = tokio::spawn(async move { psql(&url, "SELECT 7").await });
    tokio::task::yield_now().await;
    assert!(!asked.is_finished());
    postgres.go_on();
    assert_eq!(asked.await.unwrap(), "7");
}

#[tokio::test]
async fn a_killed_postgres_has_what_was_committed() {
    let postgres = Postgres::private_with(&["max_connections=7"]);
    let url = postgres.database().await;
    psql(&url, "CREATE TABLE t (n int)").await;
    for n in 0..3 {
        psql(&url, &format!("INSERT INTO t VALUES ({n})")).await;
        // A stopped server dies as well as a running one.
        if n == 1 {
            postgres.stop();
        }
        let processes = postgres.processes();
        postgres.kill();
        are_gone(&processes);
        postgres.restart();
        assert_eq!(psql(&url, "SELECT count(*) FROM t").await, (n + 1).to_string());
    }
    assert_eq!(psql(&url, "SHOW max_connections").await, "7");
    assert_eq!(psql(&url, "SHOW fsync").await, "on");
}

#[tokio::test]
async fn postgres_ends_in_order_under_a_waiting_caller() {
    let postgres = Postgres::private();
    let url = postgres.database().await;
    let waiting = url.clone();
    let waiting = tokio::spawn(async move { psql(&waiting, "SELECT pg_sleep(1000)").await });
    let sleepers = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    while psql(&url, sleepers).await != "1" {}
    postgres.restart();
    assert!(waiting.await.is_err(), "its connection was closed");
    assert!(!postgres.log().contains("not properly shut down"));
    assert_eq!(psql(&url, "SELECT 7").await, "7");
}
