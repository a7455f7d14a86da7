//! WebSockets pass end to end.

use futures_util::{SinkExt, StreamExt};
use gpuf_tests::{Connection, Kind, Outcome, PATIENCE, Request, Scene, in_time};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PATH: &str = "/v1/realtime?model=m";

async fn open(scene: &Scene) -> WebSocketStream<TcpStream> {
    let url = format!("ws://{}{PATH}", scene.gateway.addresses.public);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", scene.key).parse().unwrap());
    let socket = Connection::open(scene.gateway.addresses.public).await.into_socket();
    in_time("a WebSocket", tokio_tungstenite::client_async(request, socket)).await.expect("an upgrade").0
}

fn upgrade(key: &str, target: &str) -> Request {
    Request::get(target)
        .key(key)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn a_web_socket_passes_end_to_end() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let mut socket = open(&scene).await;
    let large = "x".repeat(300_000);
    for message in [Message::text("hello"), Message::binary(vec![0, 255, 7]), Message::text(large)] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(in_time("an echo", socket.next()).await.unwrap().unwrap(), message);
    }
    let seen = scene.ledger().requests();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].path() == "/v1/realtime" && seen[0].header("authorization").is_none());
    socket.close(None).await.unwrap();
    while in_time("the close", socket.next()).await.is_some_and(|message| message.is_ok()) {}
    scene.ledger().wait_for(|all| all[0].outcome() == Some(Outcome::Completed), PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_web_socket_ends_with_either_side() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let socket = open(&scene).await;
    drop(socket);
    scene.ledger().wait_for(|all| all.len() == 1 && all[0].ended.is_some(), PATIENCE).await.unwrap();
    let mut socket = open(&scene).await;
    let Scene { engine, key, agent, gateway } = scene;
    engine.stop().await;
    let last = in_time("the end", socket.next()).await;
    assert!(!matches!(last, Some(Ok(Message::Text(_)))), "{last:?}");
    drop((key, agent, gateway));
}

#[tokio::test]
async fn several_web_sockets_do_not_mix() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(open(&scene).await);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(format!("number {number}"))).await.unwrap();
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let echo = in_time("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo, Message::text(format!("number {number}")));
    }
    // Plain requests go on beside them.
    scene.assert_serves().await;
}

#[tokio::test]
async fn an_upgrade_needs_a_key_and_a_model() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let cases = [
        (upgrade("gpuf_nobody", PATH), 401),
        (upgrade(&scene.key, "/v1/realtime?model=absent"), 404),
        (upgrade(&scene.key, "/v1/realtime"), 400),
    ];
    for (request, status) in cases {
        let answer = scene.ask(&request).await;
        assert_eq!(answer.status(), status, "{}: {}", request.target, answer.text());
        assert!(answer.json()["error"]["message"].is_string());
    }
    scene.assert_engine_untouched();
}
