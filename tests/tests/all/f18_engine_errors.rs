//! F18: what an engine says when it fails: its 4xx are the caller's business, everything else is ours.

use gpuf_tests::{Behaviour, Dialect, Kind, MODEL, Scene, Script};

#[tokio::test]
async fn f18_an_engines_4xx_reaches_the_caller_word_for_word() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for status in [400, 404, 422, 429] {
        let body =
            format!(r#"{{"error": {{"message": "context of {status} exceeded",  "code": {status}}}}}"#);
        scene.engine.push_once(Behaviour::status(status, body.clone()));
        let answer = scene.ask(&scene.chat(true)).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(scene.ledger().requests().len(), 4, "a 4xx is no reason to try again");
}

#[tokio::test]
async fn f18_what_an_engine_says_of_its_own_failure_stays_inside() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let html = |status| Behaviour::Status {
        status,
        content_type: "text/html".into(),
        body: "<html>secret stack trace</html>".into(),
    };
    let cases = [
        ("500", Behaviour::status(500, r#"{"error":"secret stack trace at /srv/engine.py"}"#)),
        ("503", Behaviour::status(503, r#"{"error":"secret loading model"}"#)),
        ("500 in HTML", html(500)),
        ("200 in HTML", html(200)),
        ("broken JSON", Behaviour::status(200, r#"{"id":"secret","choices":["#)),
        ("another protocol", Behaviour::raw("SSH-2.0-secret\r\n")),
        ("a broken head", Behaviour::raw("HTTP/1.1 two hundred\r\nsecret: x\r\n\r\n")),
        (
            "a redirect",
            Behaviour::raw("HTTP/1.1 302 Found\r\nlocation: http://secret/\r\ncontent-length: 0\r\n\r\n"),
        ),
    ];
    for (name, behaviour) in cases {
        scene.engine.set_script(Script::new(behaviour));
        let answer = scene.ask(&scene.chat(false)).await;
        assert_eq!(answer.status(), 502, "{name}: {}", answer.text());
        assert_eq!(answer.error_code(), "upstream_error", "{name}");
        assert!(!answer.text().contains("secret"), "{name}: {}", answer.text());
        assert!(answer.head.headers.iter().all(|(_, value)| !value.contains("secret")), "{name}");
    }
    scene.engine.set_script(Script::default());
    scene.assert_serves().await;
}

#[tokio::test]
async fn f18_an_engines_failure_is_told_in_each_dialect() {
    for dialect in Dialect::ALL {
        let scene = Scene::new(dialect.engine_kind()).await;
        scene.engine.set_script(Script::new(Behaviour::status(500, "{}")));
        let answer = scene.ask(&dialect.request(&scene.key, MODEL, true)).await;
        assert_eq!(answer.status(), 502, "{dialect:?}: {}", answer.text());
        assert!(dialect.error_message(&answer.json()).is_some(), "{dialect:?}: {}", answer.text());
    }
}
