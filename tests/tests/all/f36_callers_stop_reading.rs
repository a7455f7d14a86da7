//! F36: callers that stop reading are reset, and hold little meanwhile.

use std::time::Duration;

use gpuf_tests::http2::{End, Http2, read_to_end};
use gpuf_tests::scene::Received;
use gpuf_tests::{Connection, Outcome, PATIENCE, Scene, Script, Tokens, eventually};

const CALLERS: usize = 24;
const RECEIVE_BUFFER_BYTES: u32 = 4 * 1024;

#[tokio::test]
async fn f36_callers_that_stop_reading_are_reset_and_their_engine_requests_stopped() {
    let scene = Scene::limited(&[("stalled_caller_ms", 1_500)]).await;
    scene.assert_serves().await;
    scene.ledger().clear();
    scene.engine.set_script(Script::new(Tokens::of(u64::MAX)));
    let before = scene.gateway.process.memory_bytes();
    let mut stalled = Vec::new();
    for _ in 0..CALLERS {
        let mut connection =
            Connection::open_narrow(scene.gateway.addresses.public, RECEIVE_BUFFER_BYTES).await;
        connection.send(&scene.chat(true).bytes()).await;
        stalled.push(connection);
    }
    scene.ledger().wait_for(|all| all.len() == CALLERS, PATIENCE).await.unwrap();
    let mut peak = before;
    eventually("the end of all stalled requests", async || {
        peak = peak.max(scene.gateway.process.memory_bytes());
        let stopped = |one: &Received| one.outcome() == Some(Outcome::PeerAborted);
        scene.ledger().requests().iter().all(stopped).then_some(())
    })
    .await;
    let held = peak - before;
    let most = CALLERS as u64 * 2 * 128 * 1024 + (16 << 20);
    assert!(held <= most, "{held} bytes were held, {most} at most");
    for connection in &mut stalled {
        assert!(connection.closed().await);
    }
    scene.engine.set_script(Script::default());
    scene.assert_serves().await;
}

#[tokio::test]
async fn f36_a_slow_reader_is_not_a_stalled_one() {
    let scene = Scene::limited(&[("stalled_caller_ms", 1_000)]).await;
    scene.engine.set_script(Script::new(Tokens::of(2_000)));
    let mut connection = Connection::open_narrow(scene.gateway.addresses.public, RECEIVE_BUFFER_BYTES).await;
    connection.send(&scene.chat(true).bytes()).await;
    let mut stream = connection.into_stream().await;
    for _ in 0..10 {
        stream.tokens(20).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let answer = stream.rest().await;
    assert!(answer.is_done(), "{}", answer.text());
}

#[tokio::test]
async fn f36_a_caller_that_opens_no_http2_window_stops_its_engine_request() {
    let scene = Scene::limited(&[("stalled_caller_ms", 1_500)]).await;
    scene.assert_serves().await;
    scene.ledger().clear();
    scene.engine.set_script(Script::new(Tokens::of(u64::MAX)));
    let mut connection = Http2::open(scene.gateway.addresses.public).await;
    let answer = connection.start(&scene.chat(true)).await.await.expect("a head");
    let stopped = |one: &Received| one.outcome() == Some(Outcome::PeerAborted);
    scene.ledger().wait_for(|all| all.len() == 1 && all.iter().all(stopped), PATIENCE).await.unwrap();
    let end = read_to_end(&mut answer.into_body(), &mut Vec::new()).await;
    assert!(!matches!(end, End::Whole), "half an answer ended like a whole one: {end:?}");
}
