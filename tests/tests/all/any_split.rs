//! However a request's bytes are split, the result is the same.

use gpuf_tests::{Connection, FaultProxy, Gateway, Kind, MODEL, Request, Scene, engine};

/// What must not depend on the split.
async fn result(connection: &mut Connection) -> (u16, String) {
    let answer = connection.answer().await;
    (answer.status(), answer.text())
}

fn requests(key: &str) -> Vec<(&'static str, Vec<u8>)> {
    let chat = Request::chat(key, MODEL, false);
    vec![
        ("by length", chat.bytes()),
        ("by chunks", chat.chunked_bytes(7)),
        ("streamed", Request::chat(key, MODEL, true).bytes()),
        ("without a body", Request::get("/v1/models").key(key).bytes()),
        ("refused", Request::chat("gpuf_nobody", MODEL, false).bytes()),
    ]
}

#[tokio::test]
async fn a_request_of_single_bytes_gets_the_same_answer() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for (name, bytes) in requests(&scene.key) {
        let mut whole = scene.gateway.connect().await;
        whole.send(&bytes).await;
        let expected = result(&mut whole).await;
        let mut crumbled = scene.gateway.connect().await;
        crumbled.send_in_pieces(bytes.chunks(1)).await;
        assert_eq!(result(&mut crumbled).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_request_cut_at_any_offset_gets_the_same_answer() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for (name, bytes) in requests(&scene.key).into_iter().filter(|(name, _)| *name != "refused") {
        let mut connection = scene.gateway.connect().await;
        connection.send(&bytes).await;
        let expected = result(&mut connection).await;
        for offset in 1..bytes.len() {
            // The same connection: what is left of one request must not disturb the next.
            connection.send_in_pieces([&bytes[..offset], &bytes[offset..]]).await;
            assert_eq!(result(&mut connection).await, expected, "{name}, cut at {offset}");
        }
    }
}

#[tokio::test]
async fn crumbs_on_every_hop_change_nothing() {
    let gateway = Gateway::start().await;
    let engine = engine(Kind::LlamaCpp).await;
    let before_engine = FaultProxy::to(engine.addr()).one_byte_writes().start().await;
    let before_control = FaultProxy::to(gateway.addresses.control).one_byte_writes().start().await;
    let before_tunnel = FaultProxy::to(gateway.addresses.proxy).one_byte_writes().start().await;
    let before_public = FaultProxy::to(gateway.addresses.public).one_byte_writes().start().await;
    let building = gateway.build_agent().engine_at(&engine, before_engine.url());
    let building = building.control_at(before_control.addr()).proxy_at(before_tunnel.addr());
    let _agent = building.start().await;
    let key = gateway.key().await;
    for stream in [false, true] {
        let request = Request::chat(&key, MODEL, stream);
        let direct = Connection::open(engine.addr()).await.ask(&request).await;
        let through = Connection::open(before_public.addr()).await.ask(&request).await;
        assert_eq!(through.status(), 200, "{}", through.text());
        assert_eq!(through.text(), direct.text());
        assert!(through.whole);
    }
}
