//! F40: every management route, for everybody who has no business there.

use gpuf_tests::fake_agent::Identity;
use gpuf_tests::{Connection, Kind, MODEL, Request, Scene};

/// Every route but the open one: from the document that the router itself makes of its routes.
async fn routes(scene: &Scene) -> Vec<(String, String)> {
    let document = scene.gateway.manage("GET", "/api/openapi.json", None).await.json();
    let paths = document["paths"].as_object().expect("paths");
    let routes: Vec<_> = paths
        .iter()
        .filter(|(path, _)| *path != "/api/health")
        .flat_map(|(path, item)| {
            let path = path.replace("{id}", "x");
            let methods = item.as_object().expect("operations").keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

async fn manage(scene: &Scene, request: &Request) -> gpuf_tests::Answer {
    let request = match request.headers.iter().any(|(name, _)| name == "host") {
        true => request.clone(),
        false => request.clone().header("host", &scene.gateway.addresses.api.to_string()),
    };
    Connection::open(scene.gateway.addresses.api).await.ask(&request).await
}

#[tokio::test]
async fn f40_no_route_opens_without_the_admin_token() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let tokens = [None, Some(scene.key.as_str()), Some("wrong"), Some("")];
    for (method, path) in &routes(&scene).await {
        for token in tokens {
            let mut request = Request::new(method, path);
            if let Some(token) = token {
                request = request.key(token);
            }
            let answer = manage(&scene, &request).await;
            // Many failures may be slowed down.
            assert!(
                matches!(answer.status(), 401 | 403 | 429),
                "{method} {path} {token:?}: {}",
                answer.status()
            );
            assert!(!answer.text().contains("gpuf_"), "{method} {path}: {}", answer.text());
        }
        // The public port does not have them at all.
        let answer = scene.ask(&Request::new(method, path).key(&scene.gateway.admin_token)).await;
        assert!(
            matches!(answer.status(), 401 | 404),
            "{method} {path} on the public port: {}",
            answer.status()
        );
    }
    let listed = scene.gateway.manage("GET", "/api/v1/keys", None).await;
    assert_eq!(listed.status(), 200);
    assert!(!listed.text().contains(&scene.key), "a key is shown once, when it is made");
}

#[tokio::test]
async fn f40_the_right_token_does_not_excuse_a_hostile_host_or_origin() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let token = scene.gateway.admin_token.clone();
    let routes = routes(&scene).await;
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "evil.example:80"),
        ("host", "127.0.0.1.evil.example"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
    ] {
        for (method, path) in &routes {
            let answer = manage(&scene, &Request::new(method, path).key(&token).header(name, value)).await;
            let refused = matches!(answer.status(), 400 | 401 | 403 | 421);
            assert!(refused, "{method} {path} {name}: {value}: {}", answer.status());
        }
    }
}

#[tokio::test]
async fn f40_the_admin_token_is_no_callers_key() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let answer = scene.ask(&Request::chat(&scene.gateway.admin_token, MODEL, false)).await;
    assert_eq!(answer.status(), 401);
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn f40_an_agents_certificate_opens_nothing_but_its_own_ports() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let identity = Identity::enrol(&scene.gateway).await;
    let mut elsewhere = scene.gateway.addresses;
    elsewhere.control = scene.gateway.addresses.api;
    // Whether TLS fails or the port answers in clear, no session comes of it.
    if let Ok(mut session) = identity.connect(elsewhere).await {
        assert!(session.receive().await.is_none());
    }
    // On the agents' port HTTP is no protocol, whatever the certificate.
    let mut session = identity.connect(scene.gateway.addresses).await.unwrap();
    session.send_bytes(&Request::get("/api/v1/keys").bytes()).await;
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn f40_health_is_open_and_says_little() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let answer = manage(&scene, &Request::get("/api/health")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(!answer.text().contains(&scene.agent.id));
}

#[cfg(unix)]
#[tokio::test]
async fn f40_the_admin_token_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new(Kind::LlamaCpp).await;
    let found = std::fs::metadata(scene.gateway.data().join("admin.token")).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert!(!scene.gateway.process.log().contains(&scene.gateway.admin_token), "it is not logged");
}
