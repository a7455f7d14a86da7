//! F16: what dies before the first byte is replaced, and the caller does not notice.

use std::time::{Duration, Instant};

use gpuf_tests::{
    Agent, Behaviour, Dialect, FaultProxy, Gateway, Kind, MODEL, PATIENCE, Request, Script, SimEngine,
};
use gpuf_tests::{engine, eventually};

/// At most three seconds are added; the rest is for two busy cores.
const ADDED_AT_MOST: Duration = Duration::from_secs(6);

struct Pair {
    gateway: Gateway,
    key: String,
    engines: [SimEngine; 2],
    agents: [Agent; 2],
}

impl Pair {
    async fn new(kind: Kind) -> Self {
        let gateway = Gateway::start().await;
        let engines = [engine(kind).await, engine(kind).await];
        let agents = [
            gateway.build_agent().engine(&engines[0]).slots(8).start().await,
            gateway.build_agent().engine(&engines[1]).slots(8).start().await,
        ];
        let key = gateway.key().await;
        Self { gateway, key, engines, agents }
    }

    /// Which engine works on a request.
    async fn busy(&self) -> usize {
        eventually("a request at an engine", async || {
            self.engines.iter().position(|engine| engine.ledger().active() > 0)
        })
        .await
    }
}

#[tokio::test]
async fn f16_an_agent_that_dies_before_the_first_byte_is_replaced() {
    for dialect in [Dialect::Chat, Dialect::Ollama] {
        let mut pair = Pair::new(dialect.engine_kind()).await;
        for engine in &pair.engines {
            engine.set_script(Script::new(Behaviour::HangBeforeHead));
        }
        let mut waiting = pair.gateway.send(&dialect.request(&pair.key, MODEL, true)).await;
        let doomed = pair.busy().await;
        pair.engines[1 - doomed].set_script(Script::default());
        let start = Instant::now();
        pair.agents[doomed].kill().await;
        let answer = waiting.answer().await;
        assert_eq!(answer.status(), 200, "{dialect:?}: {}", answer.text());
        assert!(dialect.is_whole(&answer), "{dialect:?}: {}", answer.text());
        assert!(start.elapsed() < ADDED_AT_MOST, "{:?}", start.elapsed());
        let usage = pair.gateway.usage_when("a usage record", |usage| !usage.is_empty()).await;
        assert_eq!(usage.len(), 1, "one request, one record: {usage:?}");
    }
}

#[tokio::test]
async fn f16_a_reset_between_gateway_and_agent_is_survived() {
    let gateway = Gateway::start().await;
    let engines = [engine(Kind::LlamaCpp).await, engine(Kind::LlamaCpp).await];
    let tunnel = FaultProxy::to(gateway.addresses.proxy).start().await;
    let _far = gateway.build_agent().engine(&engines[0]).proxy_at(tunnel.addr()).start().await;
    let key = gateway.key().await;
    engines[0].push_once(Behaviour::HangBeforeHead);
    let mut waiting = gateway.send(&Request::chat(&key, MODEL, false)).await;
    engines[0].ledger().wait_for(|all| all.len() == 1, PATIENCE).await.unwrap();
    let _near = gateway.agent(&engines[1]).await;
    tunnel.refuse();
    let answer = waiting.answer().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(engines[1].ledger().requests().len(), 1);
}

#[tokio::test]
async fn f16_an_engine_that_closes_before_its_head_is_replaced() {
    let pair = Pair::new(Kind::LlamaCpp).await;
    for engine in &pair.engines {
        engine.set_script(Script::new(Behaviour::HangBeforeHead));
    }
    // A first request shows which engine comes first; the second one finds it closing.
    let first = pair.gateway.send(&Request::chat(&pair.key, MODEL, false)).await;
    let busy = pair.busy().await;
    pair.engines[busy].set_script(Script::default());
    pair.engines[1 - busy].set_script(Script::new(Behaviour::CloseBeforeHead));
    let answer = pair.gateway.ask(&Request::chat(&pair.key, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    drop(first);
}

#[tokio::test]
async fn f16_without_another_agent_the_failure_is_told() {
    let gateway = Gateway::builder().limits(&[("slot_wait_ms", 300)]).start().await;
    let engine = engine(Kind::LlamaCpp).await;
    let _agent = gateway.agent(&engine).await;
    let key = gateway.key().await;
    engine.set_script(Script::new(Behaviour::CloseBeforeHead));
    let answer = gateway.ask(&Request::chat(&key, MODEL, false)).await;
    assert!(matches!(answer.status(), 502 | 503), "{}: {}", answer.status(), answer.text());
    assert!(answer.json()["error"]["message"].is_string());
    assert!(engine.ledger().requests().len() <= 2, "one more attempt at most");
}
