//! F03: a key that is revoked while it streams.

use std::time::Duration;

use gpuf_tests::{Kind, MODEL, Request, Scene, Script, Tokens, eventually};

#[tokio::test]
async fn f03_a_revoked_key_may_finish_its_stream_and_start_no_other() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let key = scene.gateway.make_key(&[]).await;
    scene.engine.set_script(Script::new(Tokens::of(40).every(Duration::from_millis(50))));
    let mut stream = scene.open(&Request::chat(&key.key, MODEL, true)).await;
    stream.tokens(2).await;
    scene.gateway.revoke(&key).await;
    // It may take up to five seconds until every server knows.
    let refused = async || {
        let answer = scene.ask(&Request::get("/v1/models").key(&key.key)).await;
        (answer.status() == 401).then_some(())
    };
    tokio::time::timeout(Duration::from_secs(6), eventually("the revocation", refused)).await.unwrap();
    let answer = stream.rest().await;
    assert!(answer.is_done() || answer.is_cut(), "whole or openly cut: {}", answer.text());
}
