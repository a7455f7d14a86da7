//! Stalled readers freeze nobody.

use std::time::Duration;

use gpuf_tests::{Connection, Scene, Script, Tokens, in_time};

const STALLED: usize = 12;

#[tokio::test]
async fn stalled_readers_freeze_nobody() {
    let scene = Scene::limited(&[("stalled_caller_ms", 60_000)]).await;
    scene.engine.set_script(Script::new(Tokens::of(u64::MAX)));
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut connection = Connection::open_narrow(scene.gateway.addresses.public, 4 * 1024).await;
        connection.send(&scene.chat(true).bytes()).await;
        stalled.push(connection);
    }
    // Each of them has filled all that may stand between it and its engine.
    for connection in &mut stalled {
        assert_eq!(connection.head().await.expect("an answer").status, 200);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.engine.set_script(Script::new(Tokens::of(50).every(Duration::from_millis(5))));
    for _ in 0..5 {
        let answer = in_time("a stream beside stalled ones", scene.ask(&scene.chat(true))).await;
        assert!(answer.is_done(), "{}", answer.text());
        scene.assert_serves().await;
    }
    drop(stalled);
}
