//! F09: names that look like a model's, or that want to be more than a name.

use gpuf_tests::{Kind, MODEL, Request, Scene};

#[tokio::test]
async fn f09_a_look_alike_is_never_normalised_into_a_hit() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let long = "m".repeat(300);
    let names = [
        "",
        " ",
        "M",
        "m ",
        " m",
        "m\n",
        "m\0",
        "m\u{200b}",
        "ｍ",
        "м",
        "m%20",
        "%6d",
        "./m",
        "/m",
        "m/",
        "../m",
        "m/../m",
        "m\\",
        "m:latest",
        "m@1",
        "m,m",
        "m\u{301}",
        "\"m\"",
        &long,
    ];
    for name in names {
        let answer = scene.ask(&Request::chat(&scene.key, name, false)).await;
        assert!(matches!(answer.status(), 400 | 404), "{name:?}: {} {}", answer.status(), answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{name:?}");
    }
    scene.assert_engine_untouched();
    let exact = scene.ask(&Request::chat(&scene.key, MODEL, false)).await;
    assert_eq!(exact.status(), 200, "{}", exact.text());
}

#[tokio::test]
async fn f09_a_name_is_escaped_in_logs() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let name = "x\n2030-01-01T00:00:00Z ERROR forged line\u{1b}[31m\r";
    let answer = scene.ask(&Request::chat(&scene.key, name, false)).await;
    assert!(matches!(answer.status(), 400 | 404));
    let target = "/v1/models/x%0AERROR%20forged%20path";
    scene.ask(&Request::get(target).key(&scene.key)).await;
    let log = scene.gateway.process.log();
    assert!(!log.lines().any(|line| line.contains("ERROR forged") && line.starts_with("2030")), "{log}");
    assert!(!log.contains("\u{1b}[31m\r"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("ERROR forged path")), "{log}");
}
