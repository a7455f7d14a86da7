//! A TLS peer that closes without close_notify has closed, no more and no less.

use common::tunnel::CONNECTIONS_PER_AGENT;
use gpuf_tests::agent::id_of;
use gpuf_tests::{FaultProxy, Gateway, Kind, MODEL, Request, engine, eventually};

/// How far the gateway has come in noticing a cut is chance, and differs from one cut to the next.
const CUTS: usize = 10;

#[tokio::test]
async fn a_close_without_close_notify_is_a_close() {
    let gateway = Gateway::start().await;
    let control = FaultProxy::to(gateway.addresses.control).start().await;
    let tunnel = FaultProxy::to(gateway.addresses.proxy).start().await;
    let engine = engine(Kind::LlamaCpp).await;
    let building = gateway.build_agent().engine(&engine);
    let agent = building.control_at(control.addr()).proxy_at(tunnel.addr()).start().await;
    let key = gateway.key().await;
    let chat = Request::chat(&key, MODEL, false);
    assert_eq!(gateway.ask(&chat).await.status(), 200);

    for cut in 0..CUTS {
        eventually("all connections of the tunnel", async || {
            let known =
                gateway.agents().await.iter().all(|one| one["tunnel_connections"] == CONNECTIONS_PER_AGENT);
            (known && tunnel.open() == CONNECTIONS_PER_AGENT).then_some(())
        })
        .await;
        tunnel.cut_with_fin();
        let answer = gateway.ask(&chat).await;
        assert_eq!(answer.status(), 200, "cut {cut}: another connection is dialled: {}", answer.text());
    }

    let sessions = control.opened();
    control.cut_with_fin();
    eventually("the agent's return", async || {
        let listed = gateway.agents().await.iter().any(|one| id_of(one) == agent.id);
        (control.opened() > sessions && listed).then_some(())
    })
    .await;
    assert_eq!(gateway.ask(&chat).await.status(), 200);
    for log in [gateway.process.log(), agent.process.log()] {
        let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "a close is no error: {errors:?}");
    }
}
