//! F17: a stream that cannot be finished is cut so that nobody takes half an answer for a whole one.

use std::time::Duration;

use gpuf_tests::http2::{End, head_of, read_to_end};
use gpuf_tests::{Answer, Behaviour, Dialect, Http2, Kind, MODEL, Scene, Script, Tokens};

fn endless() -> Script {
    Script::new(Tokens::of(u64::MAX).every(Duration::from_millis(20)))
}

#[tokio::test]
async fn f17_an_agent_that_dies_in_mid_stream_is_a_cut() {
    for dialect in Dialect::ALL {
        let mut scene = Scene::new(dialect.engine_kind()).await;
        scene.engine.set_script(endless());
        let mut stream = scene.open(&dialect.request(&scene.key, MODEL, true)).await;
        stream.until("t3").await;
        scene.agent.kill().await;
        let answer = stream.rest().await;
        assert!(!answer.whole, "{dialect:?} ends abnormally: {}", answer.text());
        assert!(!dialect.is_whole(&answer), "{dialect:?}");
        assert!(tells_an_error(dialect, &answer), "{dialect:?}: {}", answer.text());
        assert!(dialect.streamed_text(&answer).starts_with("t0 t1 t2 t3"), "{dialect:?}");
        scene.gateway.outcomes("aborted", 1).await;
    }
}

fn tells_an_error(dialect: Dialect, answer: &Answer) -> bool {
    match dialect {
        Dialect::Ollama => answer.lines().last().is_some_and(|line| line["error"].is_string()),
        Dialect::Chat | Dialect::Responses | Dialect::Anthropic => answer.is_cut(),
    }
}

#[tokio::test]
async fn f17_over_http2_a_cut_is_a_reset() {
    let mut scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.set_script(endless());
    let mut http2 = Http2::open(scene.gateway.addresses.public).await;
    let answer = http2.start(&scene.chat(true)).await.await.unwrap();
    assert_eq!(head_of(&answer).status, 200);
    let mut body = answer.into_body();
    let first = body.data().await.unwrap().unwrap();
    body.flow_control().release_capacity(first.len()).unwrap();
    scene.agent.kill().await;
    let mut rest = Vec::new();
    let end = read_to_end(&mut body, &mut rest).await;
    assert!(matches!(end, End::Reset(Some(_))), "{end:?}");
    let text = String::from_utf8_lossy(&rest).into_owned();
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn f17_an_engine_that_closes_in_mid_stream_is_a_cut() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.push_once(Behaviour::CloseAfter { tokens: 5 });
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.is_cut(), "{}", answer.text());
    assert_eq!(answer.streamed_text(), "t0 t1 t2 t3 t4");
    scene.assert_serves().await;
}

#[tokio::test]
async fn f17_half_a_plain_answer_is_never_a_whole_one() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    // The second attempt fails like the first.
    scene.engine.push_once(Behaviour::CloseAfter { tokens: 0 });
    scene.engine.push_once(Behaviour::CloseAfter { tokens: 0 });
    let answer = scene.ask(&scene.chat(false)).await;
    let failed = matches!(answer.status(), 502..=504);
    assert!(failed || !answer.whole, "{} {}", answer.status(), answer.text());
    scene.assert_serves().await;
}
