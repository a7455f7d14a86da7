//! F38: the server is killed twenty times under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gpuf_tests::gateway::Addresses;
use gpuf_tests::{Gateway, Kind, MODEL, Request, Script, Tokens, engine, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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
        let request = Request::chat(&key.key, MODEL, true).header("connection", "close");
        let counted = whole.clone();
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

/// Whether the answer came whole; `None` where nobody was there, or it broke off.
async fn ask(addresses: Addresses, request: &Request) -> Option<bool> {
    let mut stream = TcpStream::connect(addresses.public).await.ok()?;
    stream.write_all(&request.bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    Some(answer.contains("data: [DONE]") && answer.ends_with("0\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_every_whole_answer_has_its_record() {
    let mut gateway = Gateway::start().await;
    let engine = engine(Kind::LlamaCpp).await;
    engine.set_script(Script::new(Tokens::of(5).every(Duration::from_millis(10))));
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
