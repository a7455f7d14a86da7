//! A drain loses no stream.

use std::time::Duration;

use futures_util::future::join_all;
use gpuf_tests::{Connection, Gateway, Kind, MODEL, Request, Scene, Script, Stream, Tokens, engine};

const STREAMS: usize = 12;
const TOKENS: u64 = 60;

fn slow() -> Script {
    Script::new(Tokens::of(TOKENS).every(Duration::from_millis(25)))
}

async fn streams(gateway: &Gateway, key: &str) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = gateway.open(&Request::chat(key, MODEL, true)).await;
        stream.tokens(1).await;
        streams.push(stream);
    }
    streams
}

async fn assert_all_whole(streams: Vec<Stream>) {
    let expected = (0..TOKENS).map(|token| format!("t{token}")).collect::<Vec<_>>().join(" ");
    for answer in join_all(streams.into_iter().map(Stream::rest)).await {
        assert!(answer.is_done(), "{}", answer.text());
        assert_eq!(answer.streamed_text(), expected);
    }
}

#[tokio::test]
async fn an_agent_that_is_asked_to_end_finishes_its_streams_first() {
    let mut scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.set_script(slow());
    let streams = streams(&scene.gateway, &scene.key).await;
    let other_engine = engine(Kind::LlamaCpp).await;
    let _other = scene.gateway.agent(&other_engine).await;
    scene.agent.process.signal(libc::SIGTERM);
    // Requests that come meanwhile are not refused and not lost.
    for _ in 0..10 {
        scene.assert_serves().await;
    }
    assert_all_whole(streams).await;
    let status = scene.agent.process.exit().await;
    assert!(status.success(), "{status}");
    scene.agent.is_gone_from(&scene.gateway).await;
    scene.assert_serves().await;
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_finishes_its_streams_first() {
    let limits = [("drain_lame_ms", 300), ("drain_stream_ms", 25_000)];
    let mut scene = Scene::limited(&limits).await;
    scene.engine.set_script(slow());
    let streams = streams(&scene.gateway, &scene.key).await;
    let idle = scene.gateway.connect().await;
    scene.gateway.process.signal(libc::SIGTERM);
    assert_all_whole(streams).await;
    let status = scene.gateway.process.exit().await;
    assert!(status.success(), "{status}");
    drop(idle);
    assert!(
        !scene.gateway.data().join("run/addresses.json").exists(),
        "a clean end takes its addresses away"
    );
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_by_a_cut() {
    let limits = [("drain_lame_ms", 100), ("drain_stream_ms", 1_000), ("drain_plain_ms", 1_000)];
    let mut scene = Scene::limited(&limits).await;
    scene.engine.set_script(Script::new(Tokens::of(u64::MAX).every(Duration::from_millis(25))));
    let mut stream = scene.open(&scene.chat(true)).await;
    stream.tokens(1).await;
    scene.gateway.process.signal(libc::SIGTERM);
    let answer = stream.rest().await;
    assert!(answer.is_cut(), "{}", answer.text());
    let status = scene.gateway.process.exit().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_still_answers() {
    let mut scene = Scene::limited(&[("drain_lame_ms", 2_500)]).await;
    scene.gateway.process.signal(libc::SIGTERM);
    let addr = scene.gateway.addresses.public;
    let answer = Connection::open(addr).await.ask(&scene.chat(false)).await;
    assert_eq!(answer.status(), 200, "the lame duck still serves: {}", answer.text());
    assert!(scene.gateway.process.exit().await.success());
}

#[tokio::test]
async fn a_second_start_goes_on_with_the_same_data() {
    let mut scene = Scene::limited(&[("drain_lame_ms", 10)]).await;
    scene.assert_serves().await;
    let folder = scene.gateway.folder();
    let admin_token = scene.gateway.admin_token.clone();
    scene.gateway.terminate().await;
    scene.agent.kill().await;
    let gateway = Gateway::builder().folder(folder).start().await;
    assert_eq!(gateway.admin_token, admin_token);
    let _agent = gateway.agent(&scene.engine).await;
    let answer = gateway.ask(&Request::chat(&scene.key, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "the key is known still: {}", answer.text());
}
