//! The body that the engine gets is the caller's, and the answer is the engine's.

use gpuf_tests::{Connection, Kind, MODEL, Request, Scene};
use serde_json::json;

#[tokio::test]
async fn what_the_caller_wrote_reaches_the_engine_byte_for_byte() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let bodies = [
        "{ \"z\" : 1e2,\n\"model\"\t: \"m\" , \"messages\":[], \"temperature\": 0.70, \"unknown\": {\"a\":[1.0,-0]} }",
        r#"{"messages":[{"role":"user","content":"\u00e9\ud83d\ude00 \/"}],"model":"m","seen":12345678901234567890123}"#,
        r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"model":"\u006d","messages":[]}"#,
        "\r\n {\"model\":\"m\",\"messages\":[],\"stream\":false}\r\n",
    ];
    for body in bodies {
        let request = Request::post("/v1/chat/completions").key(&scene.key);
        let answer = scene.ask(&request.header("content-type", "application/json").body(body)).await;
        assert_eq!(answer.status(), 200, "{body}: {}", answer.text());
        let seen = scene.ledger().requests().pop().unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.body), body);
    }
}

#[tokio::test]
async fn the_engines_answer_is_the_callers_at_every_endpoint() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let posts = [
        ("/v1/chat/completions", json!({"model": MODEL, "messages": []})),
        ("/v1/completions", json!({"model": MODEL, "prompt": "p"})),
        ("/v1/responses", json!({"model": MODEL, "input": "i"})),
        ("/v1/messages", json!({"model": MODEL, "max_tokens": 9, "messages": []})),
        (
            "/v1/messages/count_tokens",
            json!({"model": MODEL, "messages": [{"role": "user", "content": "a b"}]}),
        ),
        ("/v1/embeddings", json!({"model": MODEL, "input": ["a", "b"]})),
        ("/v1/rerank", json!({"model": MODEL, "query": "q", "documents": ["a", "b"]})),
        ("/v1/score", json!({"model": MODEL, "text_1": "q", "text_2": ["a", "b"]})),
        ("/v1/images/generations", json!({"model": MODEL, "prompt": "p"})),
        ("/v1/audio/speech", json!({"model": MODEL, "input": "i", "voice": "v"})),
    ];
    for (path, body) in posts {
        let request = Request::post(path).key(&scene.key).json(&body);
        let direct = Connection::open(scene.engine.addr()).await.ask(&request).await;
        let through = scene.ask(&request).await;
        assert_eq!(through.status(), 200, "{path}: {}", through.text());
        assert_eq!(through.body, direct.body, "{path}");
        assert_eq!(through.header("content-type"), direct.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn ollamas_answer_is_the_callers_at_every_endpoint() {
    let scene = Scene::new(Kind::Ollama).await;
    let posts = [
        ("/api/chat", json!({"model": MODEL, "messages": []})),
        ("/api/chat", json!({"model": MODEL, "messages": [], "stream": false})),
        ("/api/generate", json!({"model": MODEL, "prompt": "p"})),
        ("/api/embed", json!({"model": MODEL, "input": ["a", "b"]})),
        ("/api/show", json!({"model": MODEL})),
    ];
    for (path, body) in posts {
        let request = Request::post(path).key(&scene.key).json(&body);
        let direct = Connection::open(scene.engine.addr()).await.ask(&request).await;
        let through = scene.ask(&request).await;
        assert_eq!(through.status(), 200, "{path}: {}", through.text());
        assert_eq!(through.body, direct.body, "{path}");
    }
}
