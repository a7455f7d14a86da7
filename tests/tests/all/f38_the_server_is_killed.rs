//! F38: the server is killed twenty times under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gpuf_tests::gateway::Addresses;
use gpuf_tests::{Connection, Gateway, Kind, MODEL, Request, Script, Tokens, engine, eventually};
use tokio::task::JoinHandle;

const KILLS: u64 = 20;
const CALLERS: usize = 6;
const WELCOME: Duration = Duration::from_secs(1);

/// A caller with a key of its own, who asks again and again and counts the whole answers.
struct Caller {
    key: gpuf_tests::gateway::Key,
    whole: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Caller {
    fn start(key: gpuf_tests::gateway::Key, addresses: Addresses, stop: Arc<AtomicBool>) -> Self {
        let whole = Arc::new(AtomicU64::new(0));
        let (request, counted) = (Request::chat(&key.key, MODEL, true), whole.clone());
        let task = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if ask(addresses, &request).await == Some(true) {
                    counted.fetch_add(1, Ordering::Relaxed);
                } else {
                    // The server is down, or has no agent yet.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        Self { key, whole, task }
    }
}

/// Whether the answer came to its `[DONE]`; `None` where there was nobody to ask.
async fn ask(addresses: Addresses, request: &Request) -> Option<bool> {
    drop(tokio::net::TcpStream::connect(addresses.public).await.ok()?);
    let asking = tokio::spawn({
        let request = request.clone();
        async move { Connection::open(addresses.public).await.ask(&request).await.is_done() }
    });
    // A builder panics where the connection breaks off at a bad moment: then there was no whole answer.
    Some(asking.await.unwrap_or(false))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_every_whole_answer_has_its_record() {
    let mut gateway = Gateway::start().await;
    let engine = engine(Kind::LlamaCpp).await;
    engine.set_script(Script::new(Tokens::of(5).every(Duration::from_millis(2))));
    let agent = gateway.build_agent().engine(&engine).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(Caller::start(gateway.make_key(&[]).await, gateway.addresses, stop.clone()));
    }
    let answered = || callers.iter().map(|caller| caller.whole.load(Ordering::Relaxed)).sum::<u64>();
    for _ in 0..KILLS {
        let before = answered();
        eventually("answers under load", async || (answered() > before + 20).then_some(())).await;
        // An agent comes back at once to a server that had welcomed it for a second.
        tokio::time::sleep(WELCOME).await;
        gateway.process.kill().await;
        gateway = Gateway::builder().in_place_of(&gateway).start().await;
    }
    eventually("the agent's return", async || (!gateway.agents().await.is_empty()).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.task.await.unwrap();
        let whole = caller.whole.load(Ordering::Relaxed);
        // One request of each caller may have been cut by each kill after its record was written.
        let range = whole..=whole + KILLS;
        eventually("a record of each whole answer", async || {
            let path = format!("/api/v1/usage?limit=1000&outcome=ok&key={}", caller.key.id);
            let records = gateway.manage("GET", &path, None).await.json();
            let count = records["data"].as_array().map_or(0, Vec::len) as u64;
            range.contains(&count).then_some(())
        })
        .await;
    }
    drop(agent);
}
