//! An agent whose host lets nothing in: serving needs only the connections that the agent makes.
//!
//! The test runs itself once more inside a network namespace of its own, which is the gateway's host, and
//! makes the agent's host beside it from a thread in another one. Nothing of this has a name or outlives
//! the processes, so nothing is left to clean up and no address can clash.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use gpuf_tests::binaries::program;
use gpuf_tests::namespace;
use gpuf_tests::process::{Process, output_of};
use gpuf_tests::{Connection, Kind, MODEL, Request, SimEngine, eventually, in_time};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

const OWN_NAME: &str = "all::network_namespace::an_agent_that_nobody_can_reach_serves";
const INSIDE_VARIABLE: &str = "GPUF_TESTS_INSIDE_NAMESPACE";
const GATEWAY_HOST: &str = "10.77.0.1";
const AGENT_HOST: &str = "10.77.0.2";
/// Within one host's memory a connection is there at once, or somebody drops it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const NOTHING_COMES_IN: &str = "
    table inet border {
        chain input {
            type filter hook input priority 0; policy drop;
            ct state established,related accept
            iif lo accept
            counter drop
        }
    }";

#[tokio::test]
async fn an_agent_that_nobody_can_reach_serves() {
    if std::env::var_os(INSIDE_VARIABLE).is_some() {
        return serves_from_behind_a_border().await;
    }
    namespace::run_again(OWN_NAME, INSIDE_VARIABLE, "--net").await;
}

/// Runs a command, which is expected to do its job, with this on its standard input.
fn run(line: &str, input: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a command that reads");
    let output = child.wait_with_output().expect("a command that ends");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own: sockets and processes that it makes belong there.
struct Host {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// A host at the other end of a cable to this one.
    fn start() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || todo.into_iter().for_each(|job| job()));
        let host = Self { jobs: Some(jobs), thread: Some(thread) };
        let thread_id = host.perform(|| {
            // SAFETY: neither call takes a pointer; the first changes this thread alone.
            let (unshared, thread_id) = unsafe { (libc::unshare(libc::CLONE_NEWNET), libc::gettid()) };
            assert_eq!(unshared, 0, "a second namespace: {}", std::io::Error::last_os_error());
            thread_id
        });
        run("ip link set lo up", "");
        run(&format!("ip link add cable type veth peer name cable netns {thread_id}"), "");
        connect_cable(GATEWAY_HOST);
        host.perform(|| {
            run("ip link set lo up", "");
            connect_cable(AGENT_HOST);
        });
        host
    }

    /// What `job` returns, done on this host.
    fn perform<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move || {
            let _ = done.send(job());
        };
        self.jobs.as_ref().expect("a running host").send(Box::new(job)).expect("a running host");
        result.recv().expect("a job that does not panic")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn connect_cable(address: &str) {
    run(&format!("ip address add {address}/24 dev cable"), "");
    run("ip link set cable up", "");
}

async fn serves_from_behind_a_border() {
    let host = Host::start();
    let listener = host.perform(|| TcpListener::bind((AGENT_HOST, 0)).expect("a listener"));
    let port = listener.local_addr().expect("an address").port();
    assert!(can_connect(port).await, "without a border the agent's host can be reached");
    host.perform(|| run("nft -f -", NOTHING_COMES_IN));
    assert!(!can_connect(port).await, "the border lets a connection in");
    assert!(dropped_packets(&host) > 0, "it was not the border that kept it out");

    let folder = tempfile::tempdir().expect("a folder");
    let gateway = BorderGateway::start(folder.path()).await;
    let handle = Handle::current();
    let engine = host.perform(move || handle.block_on(engine()));
    let _agent = gateway.agent(&host, engine.url(), folder.path()).await;
    for stream in [false, true] {
        let answer = gateway.ask(&Request::chat(&gateway.key, MODEL, stream)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.whole && (!stream || answer.is_done()));
    }
    assert_eq!(engine.ledger().requests().len(), 2);
    assert!(!can_connect(port).await, "serving opens nothing");
}

async fn engine() -> SimEngine {
    SimEngine::builder().kind(Kind::LlamaCpp).models([MODEL]).start().await.expect("an engine")
}

async fn can_connect(port: u16) -> bool {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((AGENT_HOST, port)));
    matches!(connected.await, Ok(Ok(_)))
}

fn dropped_packets(host: &Host) -> u64 {
    let rules = host.perform(|| run("nft list chain inet border input", ""));
    let mut words = rules.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no counter: {rules}"))
}

/// A gateway at an address that another host can reach.
struct BorderGateway {
    process: Process,
    data: String,
    public: String,
    key: String,
}

impl BorderGateway {
    async fn start(folder: &Path) -> Self {
        let data = folder.join("gateway").to_str().expect("a path").to_owned();
        let mut command = gpuf("gpuf-s", &data);
        command.args(["serve", "--bind", GATEWAY_HOST, "--advertise", GATEWAY_HOST]);
        for flag in ["--control-port", "--proxy-port", "--public-port", "--api-port"] {
            command.args([flag, "0"]);
        }
        let process = Process::start("gpuf-s", command, folder.join("gpuf-s.log"));
        let addresses = eventually("the addresses of gpuf-s", async || {
            let written = std::fs::read(Path::new(&data).join("run/addresses.json")).ok()?;
            serde_json::from_slice::<Value>(&written).ok()
        })
        .await;
        let public = addresses["public"].as_str().expect("a public address").to_owned();
        let mut gateway = Self { process, data, public, key: String::new() };
        gateway.key = gateway.made(&["keys", "create", "--name", "test", "--json"], "key").await;
        gateway
    }

    /// What a subcommand printed under `field`.
    async fn made(&self, arguments: &[&str], field: &str) -> String {
        let mut command = gpuf("gpuf-s", &self.data);
        command.args(arguments);
        let printed = output_of("gpuf-s", command).await;
        let made: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no JSON: {printed}"));
        made[field].as_str().unwrap_or_else(|| panic!("no {field}: {made}")).to_owned()
    }

    /// An agent on that host, joined and serving.
    async fn agent(&self, host: &Host, engine_url: String, folder: &Path) -> Process {
        let join = self.made(&["join-token", "create", "--name", "test", "--json"], "join").await;
        let data = folder.join("agent").to_str().expect("a path").to_owned();
        let log = folder.join("gpuf-c.log");
        let handle = Handle::current();
        let process = host.perform(move || {
            let _runtime = handle.enter();
            let joined = gpuf("gpuf-c", &data).args(["join", &join]).as_std_mut().output().expect("gpuf-c");
            assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
            let mut command = gpuf("gpuf-c", &data);
            command.args(["run", "--no-discover", "--engine", &engine_url, "--engine-type", "llama_cpp"]);
            Process::start("gpuf-c", command, log)
        });
        eventually("the model at the gateway", async || {
            let models = self.ask(&Request::get("/v1/models").key(&self.key)).await;
            models.text().contains(&format!("\"{MODEL}\"")).then_some(())
        })
        .await;
        process
    }

    async fn ask(&self, request: &Request) -> gpuf_tests::Answer {
        assert!(self.process.descriptors() > 0, "gpuf-s has ended:\n{}", self.process.log_tail());
        let public = self.public.parse().expect("an address");
        in_time("an answer", async { Connection::open(public).await.ask(request).await }).await
    }
}

fn gpuf(name: &str, data: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program(name));
    command.env_clear().env("RUST_LOG", "info").args(["--data-dir", data]);
    command
}
