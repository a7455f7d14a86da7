//! F20: a session whose other end has fallen silent, and the session that takes its place.

use gpuf_tests::fake_agent::Identity;
use gpuf_tests::fake_agent::engine_report;
use gpuf_tests::{
    Agent, FakeAgent, FaultProxy, Gateway, Kind, MODEL, Request, SimEngine, engine, eventually,
};

const LIMITS: [(&str, u64); 4] =
    [("ping_every_ms", 400), ("session_dead_ms", 1_500), ("proxy_dial_ms", 1_000), ("slot_wait_ms", 20_000)];

struct Far {
    control: FaultProxy,
    tunnel: FaultProxy,
    agent: Agent,
    engine: SimEngine,
}

impl Far {
    async fn new(gateway: &Gateway) -> Self {
        let control = FaultProxy::to(gateway.addresses.control).start().await;
        let tunnel = FaultProxy::to(gateway.addresses.proxy).start().await;
        let engine = engine(Kind::LlamaCpp).await;
        let building = gateway.build_agent().engine(&engine).slots(8);
        let agent = building.control_at(control.addr()).proxy_at(tunnel.addr()).start().await;
        Self { control, tunnel, agent, engine }
    }
}

#[tokio::test]
async fn f20_when_an_agent_falls_silent_the_others_serve() {
    let gateway = Gateway::builder().limits(&LIMITS).start().await;
    let far = Far::new(&gateway).await;
    let key = gateway.key().await;
    let chat = Request::chat(&key, MODEL, false);
    assert_eq!(gateway.ask(&chat).await.status(), 200, "its connections are warm");
    assert_eq!(far.engine.ledger().requests().len(), 1);
    let near_engine = engine(Kind::LlamaCpp).await;
    let _near = gateway.build_agent().engine(&near_engine).slots(8).start().await;
    far.control.stall();
    far.tunnel.stall();
    let asked = (0..6).map(|_| gateway.ask(&chat));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!(near_engine.ledger().requests().len(), 6);
    far.agent.is_gone_from(&gateway).await;
}

#[tokio::test]
async fn f20_an_agent_that_was_silent_comes_back_by_itself() {
    let gateway = Gateway::builder().limits(&LIMITS).start().await;
    let far = Far::new(&gateway).await;
    let key = gateway.key().await;
    far.control.stall_open();
    far.tunnel.stall_open();
    far.agent.is_gone_from(&gateway).await;
    let back = async || {
        let agents = gateway.agents().await;
        agents.iter().any(|agent| gpuf_tests::agent::id_of(agent) == far.agent.id).then_some(())
    };
    eventually("the agent's return", back).await;
    // The remains of the old session end at last, and take nothing with them.
    far.control.flow();
    let answer = gateway.ask(&Request::chat(&key, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn f20_a_later_session_replaces_the_earlier_at_once() {
    let gateway = Gateway::start().await;
    let identity = Identity::enrol(&gateway).await;
    let id = identity.id.to_string();
    let listed = async || {
        let agents = gateway.agents().await;
        agents.iter().filter(|agent| gpuf_tests::agent::id_of(agent) == id).count()
    };
    let mut old = identity.connect(gateway.addresses).await.unwrap();
    let first = old.log_in(vec![engine_report(MODEL, 1)]).await;
    let mut young = identity.connect(gateway.addresses).await.unwrap();
    let second = young.log_in(vec![engine_report(MODEL, 1)]).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(listed().await, 1);
    assert!(old.is_closed().await);
    assert_eq!(listed().await, 1, "the end of the old one does not remove the young one");
    drop(young);
    eventually("its departure", async || (listed().await == 0).then_some(())).await;
}

#[tokio::test]
async fn f20_a_flood_of_sessions_of_one_agent_leaves_one() {
    let gateway = Gateway::start().await;
    let agent = FakeAgent::start(&gateway, MODEL, 1, gpuf_tests::Conduct::NeverDials).await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let mut session = agent.identity.connect(gateway.addresses).await.unwrap();
        session.log_in(vec![engine_report(MODEL, 1)]).await;
        sessions.push(session);
    }
    for session in &mut sessions[..19] {
        assert!(session.is_closed().await);
    }
    assert_eq!(gateway.agents().await.len(), 1);
}
