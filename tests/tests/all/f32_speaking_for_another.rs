//! F32: an agent that speaks for another, or breaks the protocol, loses its session and nobody else's.

use common::codec;
use common::message::{AgentMessage, Heartbeat, HostSample};
use gpuf_tests::fake_agent::{Identity, engine_report, login, serve};
use gpuf_tests::{Conduct, FakeAgent, Gateway, Kind, MODEL, Request, Scene};

#[tokio::test]
async fn f32_a_connection_asked_of_one_agent_is_not_taken_from_another() {
    let gateway = Gateway::start().await;
    let mut asked = FakeAgent::start(&gateway, MODEL, 8, Conduct::NeverDials).await;
    let thief = Identity::enrol(&gateway).await;
    let mut thief_session = thief.connect(gateway.addresses).await.unwrap();
    thief_session.log_in(vec![]).await;
    let key = gateway.key().await;
    let mut waiting = gateway.send(&Request::chat(&key, MODEL, false)).await;
    let (proxy_conn_id, _) = asked.order().await;

    let body = r#"{"object":"chat.completion","choices":[],"stolen":true}"#;
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    let stolen = Conduct::Answers { status: 200, headers: headers.clone(), body: body.into() };
    if let Ok(stream) = thief.dial(gateway.addresses, proxy_conn_id).await {
        // The gateway closes it; if it did not, this would answer the caller.
        gpuf_tests::in_time("the end of the thief's connection", serve(stream, stolen)).await;
    }
    assert!(thief_session.is_closed().await, "the thief's session is closed");

    let body = r#"{"object":"chat.completion","choices":[],"stolen":false}"#;
    let honest = Conduct::Answers { status: 200, headers, body: body.into() };
    let stream = asked.identity.dial(gateway.addresses, proxy_conn_id).await.expect("its own connection");
    let serving = tokio::spawn(serve(stream, honest));
    let answer = waiting.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, body));
    serving.abort();
}

#[tokio::test]
async fn f32_an_agent_cannot_call_off_anothers_connection() {
    let gateway = Gateway::start().await;
    let mut asked = FakeAgent::start(&gateway, MODEL, 8, Conduct::NeverDials).await;
    let meddler = Identity::enrol(&gateway).await;
    let mut session = meddler.connect(gateway.addresses).await.unwrap();
    session.log_in(vec![]).await;
    let key = gateway.key().await;
    let mut waiting = gateway.send(&Request::chat(&key, MODEL, false)).await;
    let (proxy_conn_id, _) = asked.order().await;
    session.send(&AgentMessage::ProxyConnFailed { proxy_conn_id, reason: "not mine".into() }).await;
    let body = r#"{"object":"chat.completion","choices":[]}"#;
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    let honest = Conduct::Answers { status: 200, headers, body: body.into() };
    let stream = asked.identity.dial(gateway.addresses, proxy_conn_id).await.expect("its own connection");
    let serving = tokio::spawn(serve(stream, honest));
    let answer = waiting.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, body));
    serving.abort();
}

#[tokio::test]
async fn f32_an_id_is_good_for_one_connection() {
    let gateway = Gateway::start().await;
    let mut agent = FakeAgent::start(&gateway, MODEL, 8, Conduct::NeverDials).await;
    let key = gateway.key().await;
    let _waiting = gateway.send(&Request::chat(&key, MODEL, false)).await;
    let (proxy_conn_id, _) = agent.order().await;
    // The gateway looks at both at once: which of them it takes is not the order in which they were made.
    let dial = async || agent.identity.dial(gateway.addresses, proxy_conn_id).await.expect("a connection");
    let mut one = tokio::spawn(serve(dial().await, Conduct::ReadsNothing));
    let mut other = tokio::spawn(serve(dial().await, Conduct::ReadsNothing));
    let ended = async {
        tokio::select! { ended = &mut one => ended, ended = &mut other => ended }
    };
    gpuf_tests::in_time("the end of one of them", ended).await.unwrap();
    assert!(one.is_finished() != other.is_finished(), "one of them serves");
}

#[tokio::test]
async fn f32_a_broken_session_is_closed_and_the_others_stay() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let login = || AgentMessage::Login(login(vec![engine_report("other", 1)]));
    let frame = |message: &AgentMessage| codec::encode(message).unwrap();
    let host = HostSample::default();
    let heartbeat = AgentMessage::Heartbeat(Heartbeat { id: [0; 16], taken_unix_ms: 0, host, gpus: vec![] });
    let mut over_long = ((1_u32 << 20) + 1).to_be_bytes().to_vec();
    over_long.resize(64, 0);
    let mut trailing = frame(&AgentMessage::Draining);
    trailing[3] += 1;
    trailing.push(0);
    let cases = [
        ("no login first", frame(&heartbeat)),
        ("a second login", [frame(&login()), frame(&login())].concat()),
        ("an over-long frame", [frame(&login()), over_long].concat()),
        ("bytes after a value", [frame(&login()), trailing].concat()),
        ("a value that does not decode", [frame(&login()), vec![0, 0, 0, 2, 0xff, 0xff]].concat()),
        ("a flood", [frame(&login()), frame(&AgentMessage::Draining).repeat(5_000)].concat()),
    ];
    let identity = Identity::enrol(&scene.gateway).await;
    for (name, bytes) in cases {
        let mut session = identity.connect(scene.gateway.addresses).await.unwrap();
        session.send_bytes(&bytes).await;
        assert!(session.is_closed().await, "{name}");
        scene.assert_serves().await;
    }
}
