//! An answer that comes before the request body is read arrives whole.

use futures_util::future::join_all;
use gpuf_tests::{Behaviour, Kind, MODEL, Request, Scene, Script};
use serde_json::json;

const CALLERS: usize = 16;
const ROUNDS: usize = 4;

#[tokio::test]
async fn an_answer_before_the_body_is_read_arrives_whole() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for body_bytes in [1_000, 200_000, 3 << 20] {
        let refusal =
            json!({"error": {"message": "x".repeat(30_000), "type": "too_large", "code": 413}}).to_string();
        let early = Behaviour::AnswerBeforeBody { status: 413, body: refusal.clone().into() };
        scene.engine.set_script(Script::new(early));
        let messages = json!([{"role": "user", "content": "y".repeat(body_bytes)}]);
        let body = json!({"model": MODEL, "messages": messages});
        let request = Request::post("/v1/chat/completions").key(&scene.key).json(&body);
        for _ in 0..ROUNDS {
            let asked = (0..CALLERS).map(|_| scene.ask(&request));
            for answer in join_all(asked).await {
                assert_eq!(answer.status(), 413, "{}", answer.text());
                assert_eq!(answer.text(), refusal, "of a body of {body_bytes} bytes");
                assert!(answer.whole);
            }
        }
    }
    scene.engine.set_script(Script::default());
    scene.assert_serves().await;
}
