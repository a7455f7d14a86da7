//! F21: an agent that is asked for a data connection and opens none.

use common::message::AgentMessage;
use gpuf_tests::{Conduct, FakeAgent, Gateway, Kind, MODEL, Request, engine};

#[tokio::test]
async fn f21_another_agent_serves_in_its_place() {
    let gateway = Gateway::builder().limits(&[("proxy_dial_ms", 400)]).start().await;
    let mut fake = FakeAgent::start(&gateway, MODEL, 64, Conduct::NeverDials).await;
    let engine = engine(Kind::LlamaCpp).await;
    let _real = gateway.build_agent().engine(&engine).slots(8).start().await;
    let key = gateway.key().await;
    for _ in 0..6 {
        let answer = gateway.ask(&Request::chat(&key, MODEL, false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    fake.order().await;
    assert_eq!(engine.ledger().requests().len(), 6);
}

#[tokio::test]
async fn f21_without_another_agent_it_is_a_503_and_nothing_leaks() {
    const TRIES: usize = 200;
    let limits = [("proxy_dial_ms", 30), ("slot_wait_ms", 30)];
    let gateway = Gateway::builder().limits(&limits).start().await;
    let _fake = FakeAgent::start(&gateway, MODEL, 64, Conduct::NeverDials).await;
    let key = gateway.key().await;
    let chat = Request::chat(&key, MODEL, false);
    let mut connection = gateway.connect().await;
    for _ in 0..10 {
        assert_eq!(connection.ask(&chat).await.status(), 503);
    }
    let before = gateway.process.descriptors();
    let memory = gateway.process.memory_bytes();
    for _ in 0..TRIES {
        let answer = connection.ask(&chat).await;
        assert_eq!(answer.status(), 503, "{}", answer.text());
    }
    assert!(gateway.process.descriptors() <= before + 4, "descriptors leak");
    let grown = gateway.process.memory_bytes().saturating_sub(memory);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn f21_an_agent_that_says_so_is_not_waited_for() {
    let gateway =
        Gateway::builder().limits(&[("proxy_dial_ms", 25_000), ("slot_wait_ms", 200)]).start().await;
    let mut fake = FakeAgent::start(&gateway, MODEL, 64, Conduct::NeverDials).await;
    let key = gateway.key().await;
    let mut waiting = gateway.send(&Request::chat(&key, MODEL, false)).await;
    let refuse = async {
        while let Some((proxy_conn_id, _)) = fake.orders.recv().await {
            fake.send(AgentMessage::ProxyConnFailed { proxy_conn_id, reason: "no route".into() });
        }
    };
    let start = std::time::Instant::now();
    let answer = tokio::select! {
        answer = waiting.answer() => answer,
        () = refuse => panic!("the session ended"),
    };
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(start.elapsed() < std::time::Duration::from_secs(15), "{:?}", start.elapsed());
}
