//! Starting and stopping an engine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::connection;
use crate::generation::{HUMAN_TEXT, Text};
use crate::identity::Kind;
use crate::ledger::Ledger;
use crate::script::{Behaviour, Script, Stage};

const LEDGER_REQUESTS_MAX: usize = 100_000;
const LEDGER_BODY_BYTES_MAX: usize = 64 * 1024;
const LISTEN_BACKLOG: i32 = 4_096;

/// The engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("the simulated engine cannot listen on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A worker thread did not come up.
    #[error("the simulated engine cannot start a worker: {0}")]
    Worker(io::Error),
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kind: Kind,
    pub(crate) slots_total: usize,
    pub(crate) free_slots: Semaphore,
    pub(crate) waiting: AtomicUsize,
    pub(crate) ledger: Ledger,
    pub(crate) text: Arc<Text>,
    models: RwLock<Arc<Vec<String>>>,
    stage: Mutex<(Stage, u64)>,
}

impl State {
    pub(crate) fn models(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn slots_busy(&self) -> usize {
        self.slots_total.saturating_sub(self.free_slots.available_permits())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What the next request does, and a number that changes whenever answers may.
    pub(crate) fn next_behaviour(&self, path: &str, probe: bool) -> (Behaviour, u64) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let version = stage.1;
        (stage.0.next(path, probe), version)
    }

    fn direct(&self, change: impl FnOnce(&mut Stage)) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut stage.0);
        stage.1 += 1;
    }
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Builder {
    kind: Kind,
    models: Vec<String>,
    slots: usize,
    script: Script,
    text: String,
    port: u16,
    workers: usize,
    ledger_requests_max: usize,
    ledger_body_bytes_max: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            models: vec!["simulated".into()],
            slots: 4,
            script: Script::default(),
            text: HUMAN_TEXT.into(),
            port: 0,
            workers: 0,
            ledger_requests_max: LEDGER_REQUESTS_MAX,
            ledger_body_bytes_max: LEDGER_BODY_BYTES_MAX,
        }
    }
}

impl Builder {
    /// Which engine is imitated; llama.cpp unless said.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The models that it serves; `simulated` unless said.
    pub fn models<I: IntoIterator<Item = S>, S: Into<String>>(mut self, models: I) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Requests that it works on at one time; more wait. 4 unless said.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// What it does with requests; a good answer at once unless said.
    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// What it answers: one token a word, and numbered tokens past the end.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Answers in numbered tokens, `t0 t1 t2 …`, so that a lost or doubled one shows.
    pub fn numbered(self) -> Self {
        self.text("")
    }

    /// The port on 127.0.0.1; 0, the default, is any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Threads of its own, each with a runtime and a listener; 0, the default, runs on the caller's runtime.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Requests that the ledger keeps, the oldest going first; 0 keeps none and costs least.
    pub fn ledger_requests_max(mut self, requests: usize) -> Self {
        self.ledger_requests_max = requests;
        self
    }

    /// Bytes of each body that the ledger keeps; 64 KiB unless said.
    pub fn ledger_body_bytes_max(mut self, bytes: usize) -> Self {
        self.ledger_body_bytes_max = bytes;
        self
    }

    /// Listens and serves. Must be called on a tokio runtime; a current-thread one will do.
    ///
    /// # Errors
    /// The port is taken, or a worker thread does not come up.
    // `async` is the contract: a caller has a runtime and may come to wait here.
    #[allow(clippy::unused_async)]
    pub async fn start(self) -> Result<SimEngine, StartError> {
        let state = Arc::new(State {
            kind: self.kind,
            slots_total: self.slots,
            free_slots: Semaphore::new(self.slots),
            waiting: AtomicUsize::new(0),
            ledger: Ledger::new(self.ledger_requests_max, self.ledger_body_bytes_max),
            text: Arc::new(Text::new(&self.text)),
            models: RwLock::new(Arc::new(self.models)),
            stage: Mutex::new((Stage::default(), 0)),
        });
        state.direct(|stage| stage.set(self.script));
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listen =
            |addr| listen(addr, self.workers > 1).map_err(|source| StartError::Listen { addr, source });
        let first = listen(wanted)?;
        let addr = first.local_addr().map_err(|source| StartError::Listen { addr: wanted, source })?;
        let (stop, stopped) = watch::channel(false);
        let mut engine = SimEngine { addr, state, stop, serving: None, workers: Vec::new() };
        if self.workers == 0 {
            let listener = TcpListener::from_std(first).map_err(StartError::Worker)?;
            engine.serving = Some(tokio::spawn(accept(listener, Arc::clone(&engine.state), stopped)));
            return Ok(engine);
        }
        let mut listeners = vec![first];
        for _ in 1..self.workers {
            listeners.push(listen(addr)?);
        }
        for listener in listeners {
            let worker = spawn_worker(listener, Arc::clone(&engine.state), stopped.clone());
            engine.workers.push(worker.map_err(StartError::Worker)?);
        }
        Ok(engine)
    }
}

/// A running engine. Dropped, it stops and closes every connection.
#[derive(Debug)]
pub struct SimEngine {
    addr: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    serving: Option<tokio::task::JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

impl SimEngine {
    /// An engine to be set up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a base URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Which engine is imitated.
    pub fn kind(&self) -> Kind {
        self.state.kind
    }

    /// The models that it serves.
    pub fn models(&self) -> Vec<String> {
        self.state.models().to_vec()
    }

    /// Serves these models from here on.
    pub fn set_models<I: IntoIterator<Item = S>, S: Into<String>>(&self, models: I) {
        let models = Arc::new(models.into_iter().map(Into::into).collect());
        *self.state.models.write().unwrap_or_else(PoisonError::into_inner) = models;
        self.state.direct(|_| ());
    }

    /// What it received.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Follows this script from the next request on.
    pub fn set_script(&self, script: Script) {
        self.state.direct(|stage| stage.set(script));
    }

    /// The next inference request that no path of the script claims behaves like this, once.
    pub fn push_once(&self, behaviour: impl Into<Behaviour>) {
        self.state.direct(|stage| stage.push_once(behaviour.into()));
    }

    /// Requests that it works on at one time.
    pub fn slots(&self) -> usize {
        self.state.slots_total
    }

    /// Slots that are taken.
    pub fn slots_busy(&self) -> usize {
        self.state.slots_busy()
    }

    /// Serves until `stop` is called from elsewhere or the process ends.
    pub async fn serve_for_ever(&self) {
        told_to_stop(&mut self.stop.subscribe()).await;
    }

    /// Stops, closes every connection, and returns when all are closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(move || workers.into_iter().try_for_each(JoinHandle::join));
        let _ = joined.await;
    }
}

impl Drop for SimEngine {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn listen(addr: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    #[cfg(not(unix))]
    let _ = shared;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn spawn_worker(
    listener: std::net::TcpListener,
    state: Arc<State>,
    stopped: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("sim-engine".into()).spawn(move || {
        runtime.block_on(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                accept(listener, state, stopped).await;
            }
        });
    })
}

/// Accepts until stopped; the connections end with it.
async fn accept(listener: TcpListener, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = told_to_stop(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    ready(&stream);
                    connections.spawn(connection::serve(stream, Arc::clone(&state)));
                }
                // Out of descriptors or a connection gone already: neither ends the engine.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Returns when the engine is stopped or dropped.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Tokens must leave at once. A socket that refuses is served all the same.
fn ready(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}
