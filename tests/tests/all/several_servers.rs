//! Several servers over one PostgreSQL and one authority: each agent is with all of them, and the end of one
//! server is nobody's end but that of its streams.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gpuf_tests::agent::id_of;
use gpuf_tests::gateway::Builder;
use gpuf_tests::{
    Agent, Gateway, Kind, MODEL, Request, Script, SimEngine, Stream, Tokens, engine, engine_with_slots,
    eventually,
};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than the servers need to learn of each other, and an agent of them.
const A_WHILE: Duration = Duration::from_secs(8);
const TOKENS: u64 = 120;

/// What servers share.
struct Fleet {
    database: String,
    authority: TempDir,
}

impl Fleet {
    async fn new() -> Self {
        let database = test_services::Postgres::shared().database().await;
        Self { database, authority: tempfile::tempdir().expect("a folder") }
    }

    /// A server to be set up.
    fn server(&self) -> Builder {
        self.stranger().arg("--authority-dir").arg(self.authority.path().to_str().expect("a path"))
    }

    /// One with the same database and an authority of its own.
    fn stranger(&self) -> Builder {
        let limits = [("drain_lame_ms", 300), ("drain_stream_ms", 20_000)];
        Gateway::builder().limits(&limits).env("DATABASE_URL", &self.database)
    }
}

/// Two servers, and an agent that has joined the first and is with both.
struct Pair {
    fleet: Fleet,
    one: Gateway,
    two: Gateway,
    engine: SimEngine,
    agent: Agent,
    key: String,
}

impl Pair {
    async fn start() -> Self {
        let fleet = Fleet::new().await;
        // At once: one of them makes the authority, and both have it.
        let (one, two) = tokio::join!(fleet.server().start(), fleet.server().start());
        let engine = engine(Kind::LlamaCpp).await;
        let agent = one.build_agent().engine(&engine).slots(engine.slots()).start().await;
        is_with(&two, &agent).await;
        let key = one.key().await;
        Self { fleet, one, two, engine, agent, key }
    }

    async fn stream(&self, gateway: &Gateway) -> Stream {
        let mut stream = gateway.open(&Request::chat(&self.key, MODEL, true)).await;
        stream.tokens(1).await;
        stream
    }

    async fn serves(&self, gateway: &Gateway) {
        let answer = gateway.ask(&Request::chat(&self.key, MODEL, false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

fn slow() -> Script {
    Script::new(Tokens::of(TOKENS).every(Duration::from_millis(25)))
}

/// The agent as `gateway` shows it.
async fn shown(gateway: &Gateway, agent: &Agent) -> Option<Value> {
    gateway.agents().await.into_iter().find(|shown| id_of(shown) == agent.id)
}

/// Where the agent is connected, as `gateway` sees it.
async fn servers_of(gateway: &Gateway, agent: &Agent) -> Vec<String> {
    let shown = shown(gateway, agent).await.unwrap_or_default();
    let names = shown["servers"].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn name_of(gateway: &Gateway) -> String {
    gateway.addresses.control.to_string()
}

/// Waits until the agent holds a session with `gateway` and its engines are known there.
async fn is_with(gateway: &Gateway, agent: &Agent) {
    eventually("a session of the agent", async || {
        let shown = shown(gateway, agent).await?;
        // Without a session here, the engines are those that the agent last told of anywhere.
        let here = shown["connected_for_s"].is_u64();
        let served = shown["engines"].as_array().is_some_and(|engines| !engines.is_empty());
        (here && served).then_some(())
    })
    .await;
}

async fn names_at(gateway: &Gateway) -> Vec<String> {
    let answer = gateway.manage("GET", "/api/v1/servers", None).await.json();
    let rows = answer["data"].as_array().expect("a list").clone();
    let mut names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect();
    names.sort_unstable();
    names
}

fn sorted(gateways: &[&Gateway]) -> Vec<String> {
    let mut names: Vec<_> = gateways.iter().map(|gateway| name_of(gateway)).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn an_agent_that_joined_one_server_serves_at_all_also_at_one_that_comes_later() {
    let pair = Pair::start().await;
    pair.serves(&pair.one).await;
    pair.serves(&pair.two).await;
    let key = pair.two.key().await;
    let answer = pair.one.ask(&Request::chat(&key, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "a key of one server is a key of all: {}", answer.text());

    let three = pair.fleet.server().start().await;
    is_with(&three, &pair.agent).await;
    pair.serves(&three).await;
    let all = sorted(&[&pair.one, &pair.two, &three]);
    for gateway in [&pair.one, &pair.two, &three] {
        eventually("all servers in the list of each", async || {
            let mut seen = servers_of(gateway, &pair.agent).await;
            seen.sort_unstable();
            (names_at(gateway).await == all && seen == all).then_some(())
        })
        .await;
    }
    // One agent, however many sessions it holds.
    assert_eq!(pair.two.agents().await.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_killed_takes_only_its_own_streams_along() {
    let mut pair = Pair::start().await;
    pair.engine.set_script(slow());
    let (lost, kept) = (pair.stream(&pair.one).await, pair.stream(&pair.two).await);
    pair.one.process.kill().await;
    let (lost, kept) = (lost.rest().await, kept.rest().await);
    assert!(!lost.whole && !lost.is_done(), "{}", lost.text());
    assert!(kept.is_done(), "{}", kept.text());
    let expected = (0..TOKENS).map(|token| format!("t{token}")).collect::<Vec<_>>().join(" ");
    assert_eq!(kept.streamed_text(), expected);
    pair.engine.set_script(Script::default());
    pair.serves(&pair.two).await;

    // It comes back where it was, and the agent with it.
    let again = pair.fleet.server().folder(pair.one.folder()).addresses(pair.one.addresses).start().await;
    let since = Instant::now();
    is_with(&again, &pair.agent).await;
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    pair.serves(&again).await;
    pair.serves(&pair.two).await;
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_drains_while_the_others_serve() {
    let mut pair = Pair::start().await;
    pair.engine.set_script(slow());
    let stream = pair.stream(&pair.two).await;
    pair.two.process.signal(libc::SIGTERM);
    pair.engine.set_script(Script::default());
    for _ in 0..5 {
        pair.serves(&pair.one).await;
    }
    let answer = stream.rest().await;
    assert!(answer.is_done(), "{}", answer.text());
    assert!(pair.two.process.exit().await.success());
    // It has said goodbye: nobody waits for its silence.
    let left = Instant::now();
    eventually("one server in the list", async || {
        (names_at(&pair.one).await == sorted(&[&pair.one])).then_some(())
    })
    .await;
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
    assert_eq!(servers_of(&pair.one, &pair.agent).await, sorted(&[&pair.one]));
    pair.serves(&pair.one).await;
}

#[tokio::test]
async fn an_agent_that_is_revoked_at_one_server_is_gone_from_all_within_five_seconds() {
    let pair = Pair::start().await;
    let path = format!("/api/v1/agents/{}", pair.agent.id);
    let revoked = pair.one.manage("DELETE", &path, None).await;
    assert_eq!(revoked.status(), 200, "{}", revoked.text());
    let since = Instant::now();
    for gateway in [&pair.one, &pair.two] {
        eventually("the end of its session", async || {
            let shown = shown(gateway, &pair.agent).await?;
            (shown["state"] == "revoked").then_some(())
        })
        .await;
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // It tries again and is refused, at whichever server.
    eventually("a refusal by both", async || {
        let log = pair.agent.process.log();
        let refused = |gateway: &Gateway| {
            let name = name_of(gateway);
            log.lines().any(|line| line.contains(&name) && line.contains("removed by the operator"))
        };
        (refused(&pair.one) && refused(&pair.two)).then_some(())
    })
    .await;
    let answer = pair.two.ask(&Request::chat(&pair.key, MODEL, false)).await;
    assert_ne!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn a_server_with_two_names_has_one_session_of_an_agent() {
    let fleet = Fleet::new().await;
    let one = fleet.server().advertise("localhost").start().await;
    let two = fleet.server().start().await;
    let engine = engine(Kind::LlamaCpp).await;
    // The agent dials an address, and the second server tells it the name that the first one advertises.
    let agent = one.build_agent().engine(&engine).slots(engine.slots()).control_at(one.addresses.control);
    let agent = agent.start().await;
    is_with(&two, &agent).await;
    let key = one.key().await;
    engine.set_script(Script::new(Tokens::of(u64::MAX).every(Duration::from_millis(50))));
    let mut stream = one.open(&Request::chat(&key, MODEL, true)).await;
    stream.tokens(1).await;
    let told = format!("localhost:{}", one.addresses.control.port());
    eventually("the agent to stand by at the second name", async || {
        let log = agent.process.log();
        log.lines().any(|line| line.contains(&told) && line.contains("standing by")).then_some(())
    })
    .await;
    let before = shown(&one, &agent).await.expect("a session")["connected_for_s"].as_u64();
    // Flapping would show within a few of the agent's waits: nothing is to happen in this time.
    tokio::time::sleep(A_WHILE).await;
    let after = shown(&one, &agent).await.expect("a session")["connected_for_s"].as_u64();
    assert!(after >= before.map(|seconds| seconds + 7), "one session throughout: {before:?} {after:?}");
    stream.tokens(3).await;
    let log = agent.process.log();
    assert!(!log.contains("another process with this identity"), "{log}");
    assert_eq!(one.process.log().matches("agent connected").count(), 1, "{}", one.process.log());
}

#[tokio::test]
async fn an_engine_gets_no_more_at_once_than_its_slots_however_many_servers_there_are() {
    let fleet = Fleet::new().await;
    let (one, two) = tokio::join!(fleet.server().start(), fleet.server().start());
    let engine = engine_with_slots(Kind::LlamaCpp, 2).await;
    let agent = one.agent(&engine).await;
    is_with(&two, &agent).await;
    let key = one.key().await;
    engine.set_script(Script::new(Tokens::of(20).every(Duration::from_millis(20))));
    let request = Request::chat(&key, MODEL, true);
    // Each server sends as many as the engine has slots, since it knows only of its own.
    let asked = [&one, &two, &one, &two].map(|gateway| gateway.ask(&request));
    for answer in join_all(asked).await {
        assert!(answer.is_done(), "{}", answer.text());
    }
    assert_eq!(engine.ledger().active_peak(), 2);
}

#[tokio::test]
async fn a_server_of_another_authority_is_ignored_and_named_once() {
    let fleet = Fleet::new().await;
    let (one, other) = tokio::join!(fleet.server().start(), fleet.stranger().start());
    let engine = engine(Kind::LlamaCpp).await;
    let agent = one.agent(&engine).await;
    let complaint = "a server of another authority uses this database";
    for gateway in [&one, &other] {
        eventually("a warning", async || gateway.process.log().contains(complaint).then_some(())).await;
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(one.process.log().matches(complaint).count(), 1);
    assert_eq!(names_at(&one).await, sorted(&[&one]));
    let log = agent.process.log();
    assert!(!log.contains(&name_of(&other)), "the agent was not told of it: {log}");
}

#[tokio::test]
async fn a_silent_database_changes_nothing_between_servers_and_agents() {
    let database = test_services::Postgres::private();
    let fleet = Fleet { database: database.database().await, authority: tempfile::tempdir().unwrap() };
    let (one, two) = tokio::join!(fleet.server().start(), fleet.server().start());
    let engine = engine(Kind::LlamaCpp).await;
    let agent = one.agent(&engine).await;
    is_with(&two, &agent).await;
    let key = one.key().await;
    for gateway in [&one, &two] {
        let answer = gateway.ask(&Request::chat(&key, MODEL, false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        eventually("both servers in its list", async || {
            (names_at(gateway).await == sorted(&[&one, &two])).then_some(())
        })
        .await;
    }
    database.stop();
    // Longer than servers believe in each other's silence.
    tokio::time::sleep(Duration::from_secs(18)).await;
    for gateway in [&one, &two] {
        assert_eq!(names_at(gateway).await, sorted(&[&one, &two]));
        let answer = gateway.ask(&Request::chat(&key, MODEL, false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    database.go_on();
    let log = agent.process.log();
    assert!(!log.contains("no session"), "{log}");
}
