//! What a start finds, and what it says about it.

use std::process::{Command, Stdio};

use sqlx::Executor as _;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::*;
use crate::store::{Migrations, State, migrations::POSTGRES};

const CHILD: &str = "GPUF_STORE_TEST_DATABASE";

async fn reason(url: &str) -> String {
    match open(url).await {
        Err(Error::Open { at, reason }) => {
            assert!(!at.contains('@') && !reason.contains("hunter2"), "a secret is told: {at}: {reason}");
            reason
        }
        other => panic!("{other:?}"),
    }
}

/// Run by [`servers_that_start_at_once_migrate_once`] in processes of its own; passes at once in this one.
#[tokio::test]
async fn the_process_that_migrates() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let store = open(&url).await.unwrap();
    eventually("it is migrated", async || store.is_ready()).await;
    store.close().await;
}

#[tokio::test]
async fn servers_that_start_at_once_migrate_once() {
    let url = test_services::Postgres::shared().database().await;
    let start = |_| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::postgres::tests::opening::the_process_that_migrates", "--nocapture"])
            .env(CHILD, &url)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for mut child in children {
        let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
        assert!(ended.success());
    }
    let applied = "SELECT count(*), count(DISTINCT version) FROM _sqlx_migrations WHERE success";
    let (rows, versions): (i64, i64) =
        sqlx::query_as(applied).fetch_one(&mut beside(&url).await).await.unwrap();
    assert_eq!((rows, versions), (rows, rows));
    assert_eq!(usize::try_from(rows).unwrap(), POSTGRES.iter().count());
}

#[tokio::test]
async fn what_was_written_is_there_at_the_next_start() {
    let url = test_services::Postgres::shared().database().await;
    let store = open(&url).await.unwrap();
    store.insert_usage(&[record(NOW_MS)]).await.unwrap();
    store.close().await;
    let again = open(&url).await.unwrap();
    assert_eq!(count(&again).await, 1);
    again.close().await;
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_or_does_not_exist_is_told_at_once() {
    let url = test_services::Postgres::shared().database().await;
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, place) = rest.split_once('@').unwrap();
    let wrong = format!("{scheme}://postgres:hunter2@{place}");
    assert!(reason(&wrong).await.contains("check user, password"), "{}", reason(&wrong).await);
    let missing = format!("{}/nobody_made_this", url.rsplit_once('/').unwrap().0);
    assert!(reason(&missing).await.contains("createdb"), "{}", reason(&missing).await);
}

#[tokio::test]
async fn a_url_that_does_not_read_is_told_without_its_password() {
    for url in ["postgres://me:hunter2@host:port/x", "postgres://me:hunter2@h/x?sslmode=hunter2"] {
        assert!(reason(url).await.contains("does not read"));
    }
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_in_words() {
    let url = test_services::Postgres::shared().database().await;
    open(&url).await.unwrap().close().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999999, 'later', TRUE, '\\x00', 0)";
    beside(&url).await.execute(later).await.unwrap();
    assert!(reason(&url).await.contains("later version"));
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let url = test_services::Postgres::shared().database().await;
    let mut other = beside(&url).await;
    other.execute("CREATE TABLE usage (mine INTEGER); INSERT INTO usage VALUES (7)").await.unwrap();
    assert!(reason(&url).await.contains("another program"));
    let tables =
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'";
    assert_eq!(sqlx::query_as::<_, (i64,)>(tables).fetch_one(&mut other).await.unwrap(), (1,));
    assert_eq!(sqlx::query_as::<_, (i32,)>("TABLE usage").fetch_one(&mut other).await.unwrap(), (7,));
}

#[tokio::test]
async fn a_port_that_is_not_postgresqls_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stranger = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    reason(&format!("postgres://me@127.0.0.1:{port}/x")).await;
    stranger.abort();
}

#[tokio::test]
async fn a_server_starts_while_the_database_is_away_and_migrates_when_it_comes() {
    let service = test_services::Postgres::private();
    let url = service.database().await;
    service.kill();
    let began = Instant::now();
    let store = open(&url).await.unwrap();
    assert!(began.elapsed() < START_PATIENCE + Duration::from_secs(1));
    assert_eq!(store.state(), State::Starting);
    let refused = store.keys().await;
    assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("refused")), "{refused:?}");
    service.restart();
    eventually("it is ready", async || store.is_ready()).await;
    assert_eq!(store.keys().await.unwrap(), []);
    store.close().await;
}

#[tokio::test]
async fn a_database_that_takes_connections_and_says_nothing_does_not_hold_up_the_start() {
    let service = test_services::Postgres::private();
    let url = service.database().await;
    service.stop();
    let began = Instant::now();
    let store = open(&url).await.unwrap();
    assert!(began.elapsed() < START_PATIENCE + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(store.state(), State::Starting);
    service.go_on();
    eventually("it is ready", async || store.is_ready()).await;
    store.close().await;
}

#[tokio::test]
async fn migrations_by_hand_show_first_and_then_do() {
    let url = test_services::Postgres::shared().database().await;
    let database = Database::Postgres(SecretUrl::new(url.clone()));
    let mut migrations = Migrations::open(&database, "/nowhere".as_ref(), false).await.unwrap();
    let steps = migrations.steps().await.unwrap();
    assert!(steps.len() == POSTGRES.iter().count() && steps.iter().all(|step| !step.is_applied));
    let tables = sqlx::query_as::<_, (i64,)>("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
    assert_eq!(tables.fetch_one(&mut beside(&url).await).await.unwrap(), (0,), "looking makes nothing");
    for step in &steps {
        migrations.apply(step).await.unwrap();
    }
    assert!(migrations.steps().await.unwrap().iter().all(|step| step.is_applied));
    open(&url).await.unwrap().close().await;
}
