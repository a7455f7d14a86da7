//! F31: somebody who knows an agent's id, and nothing else.

use common::AgentId;
use gpuf_tests::fake_agent::{Identity, engine_report, login};
use gpuf_tests::{Kind, Scene, eventually};

#[tokio::test]
async fn f31_a_stranger_with_an_agents_id_gets_an_alert_and_the_agent_stays() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let real: AgentId = scene.agent.id.parse().unwrap();
    let enrolled = Identity::enrol(&scene.gateway).await;
    let forged = Identity::forged(real, &enrolled);
    for _ in 0..3 {
        // In TLS 1.3 the alert comes with the first read.
        if let Ok(mut session) = forged.connect(scene.gateway.addresses).await {
            let message = common::message::AgentMessage::Login(login(vec![engine_report("stolen", 1)]));
            session.send(&message).await;
            assert!(session.receive().await.is_none(), "a stranger is told nothing");
        }
    }
    let listed: Vec<String> = scene.gateway.agents().await.iter().map(gpuf_tests::agent::id_of).collect();
    assert_eq!(listed, std::slice::from_ref(&scene.agent.id));
    scene.assert_serves().await;
    eventually("a line about it in the log", async || {
        let log = scene.gateway.process.log().to_lowercase();
        log.lines().any(|line| line.contains("handshake") || line.contains("certificate")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f31_an_id_that_is_taken_cannot_be_enrolled_again() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let real: AgentId = scene.agent.id.parse().unwrap();
    assert!(Identity::try_enrol(&scene.gateway, Some(real)).await.is_err());
    scene.assert_serves().await;
}

#[tokio::test]
async fn f31_a_join_string_admits_one_agent() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let join = scene.gateway.join_string().await;
    let spent = Identity::enrol_with(&scene.gateway, &join, None).await;
    assert!(spent.is_ok());
    assert!(Identity::enrol_with(&scene.gateway, &join, None).await.is_err(), "it is spent");
}

#[tokio::test]
async fn f31_bytes_that_are_no_tls_end_the_connection() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for addr in [scene.gateway.addresses.control, scene.gateway.addresses.proxy] {
        let mut connection = gpuf_tests::Connection::open(addr).await;
        connection.send(&scene.chat(false).bytes()).await;
        connection.closed().await;
    }
    scene.assert_serves().await;
}
