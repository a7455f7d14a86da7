//! F01: no key, malformed, unknown or revoked: one answer for all, and no harm to others.

use std::time::Duration;

use gpuf_tests::{Connection, Kind, MODEL, Request, Scene};

const A_MOMENT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn f01_every_bad_key_gets_the_same_401() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let revoked = scene.gateway.make_key(&[]).await;
    scene.gateway.revoke(&revoked).await;
    let mut unknown = scene.key.clone();
    unknown.replace_range(8..9, if &unknown[8..9] == "a" { "b" } else { "a" });
    let chat = |key: &str| Request::chat(key, MODEL, false);
    let without = Request { headers: Vec::new(), ..chat("x") }.header("content-type", "application/json");
    let basic = Request { headers: Vec::new(), ..chat("x") }.header("authorization", "Basic dTpw");
    let cases = [
        ("none", without),
        ("another scheme", basic),
        ("empty", chat("")),
        ("malformed", chat("gpuf_short")),
        ("odd characters", chat("gpuf_'; DROP TABLE keys; --")),
        ("long", chat(&format!("gpuf_{}", "a".repeat(4_000)))),
        ("unknown", chat(&unknown)),
        ("revoked", chat(&revoked.key)),
    ];
    let mut bodies = Vec::new();
    for (name, request) in cases {
        let answer = scene.ask(&request).await;
        assert_eq!(answer.status(), 401, "{name}: {}", answer.text());
        assert_eq!(answer.error_code(), "invalid_api_key", "{name}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
        assert!(answer.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")), "{name}");
        assert!(answer.header("x-request-id").is_some(), "{name}");
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "one text for all");
    scene.assert_engine_untouched();
    scene.assert_serves().await;
}

#[tokio::test]
async fn f01_a_key_in_the_query_is_no_key() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let target = format!("/v1/models?api_key={}", scene.key);
    assert_eq!(scene.ask(&Request::get(&target)).await.status(), 401);
    assert!(!scene.gateway.process.log().contains(&scene.key), "a key is never logged");
}

#[tokio::test]
async fn f01_a_flood_of_bad_keys_leaves_good_traffic_unharmed() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let public = scene.gateway.addresses.public;
    let flood = async {
        let mut refused = 0;
        for number in 0..200 {
            let mut connection = Connection::open(public).await;
            connection.send(&Request::chat(&format!("gpuf_bad{number}"), MODEL, false).bytes()).await;
            // Slowed answers are right; the flood does not wait for them.
            if let Ok(answer) = tokio::time::timeout(A_MOMENT, connection.answer()).await {
                assert!(matches!(answer.status(), 401 | 429), "{}", answer.text());
                refused += 1;
            }
        }
        refused
    };
    let good = async {
        for _ in 0..50 {
            scene.assert_serves().await;
        }
    };
    let (refused, ()) = tokio::join!(flood, good);
    assert!(refused > 0, "the flood was answered at all");
}
