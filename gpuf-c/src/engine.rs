//! Which engines this host has, what each serves, and where to reach it.

mod given;
mod seats;
mod watch;

mod identify;
mod survey;

mod llama_cpp;
mod lm_studio;
mod ollama;
mod openai;
mod sglang;
mod vllm;

mod client;
mod exposure;
mod metrics;
mod routes;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use common::{EngineId, EngineKind, EngineReport, codec::FRAME_BYTES_MAX, engine::ENGINES_MAX};
use http::HeaderValue;
use tokio::sync::{Notify, watch as notice};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use client::Error;
pub use given::{BadEngineUrl, EngineUrl};
pub use seats::{Seat, Seats};

use given::Host;

/// Where each kind listens unless told otherwise.
const DEFAULT_PORTS: [(u16, EngineKind); 5] = [
    (11_434, EngineKind::Ollama),
    (8000, EngineKind::Vllm),
    (8080, EngineKind::LlamaCpp),
    (30_000, EngineKind::Sglang),
    (1234, EngineKind::LmStudio),
];

/// What all models of a report may take of a frame; the rest is for engines and for a login's texts.
const REPORTS_BYTES_MAX: usize = FRAME_BYTES_MAX - 128 * 1024;
/// A model's fields beside name and digest, in bytes on the wire.
const MODEL_NUMBERS_BYTES_MAX: usize = 48;

/// The most engines that may be given by hand: the rest of a report is for the ones that are found.
pub const GIVEN_MAX: usize = ENGINES_MAX - DEFAULT_PORTS.len();

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Engines that the owner named; those past [`GIVEN_MAX`] are left out.
    pub given: Vec<GivenEngine>,
    /// Whether to look at the ports where engines usually listen on loopback.
    pub discover: bool,
    /// How many requests every engine takes at once, in place of what it says itself.
    pub slots: Option<u32>,
}

/// An engine that the owner named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenEngine {
    /// Where it listens.
    pub url: EngineUrl,
    /// What it is; asked for when not given.
    pub kind: Option<EngineKind>,
}

/// An engine that answers at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// What the server is told about it.
    pub report: Arc<EngineReport>,
    /// Where its last answer came from.
    pub address: SocketAddr,
    /// The `Host` that it expects.
    pub host: HeaderValue,
    /// How much it is given at once.
    pub seats: Seats,
}

impl Engine {
    /// A seat for one request, once there is one.
    pub async fn seat(&self) -> Seat {
        self.seats.take(self.report.slots).await
    }
}

/// All engines that answer; a cheap handle.
///
/// Each clone counts for itself which changes it has seen.
#[derive(Debug, Clone)]
pub struct Engines {
    board: Arc<Board>,
    changes: notice::Receiver<u64>,
}

impl Engines {
    /// Begins to watch. The future does the watching: it must be polled, and it ends soon after
    /// `cancel` is.
    pub fn start(config: Config, cancel: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let targets = targets(config.given, config.discover);
        let board = Arc::new(Board::new(targets.len()));
        let engines = Self { board: board.clone(), changes: board.changes.subscribe() };
        (engines, watch::all(targets, config.slots, board, cancel))
    }

    /// Every engine that answers, in a fixed order.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Vec<Engine>> {
        self.board.snapshot.load_full()
    }

    /// Every report, as the server wants them.
    #[must_use]
    pub fn reports(&self) -> Vec<EngineReport> {
        let snapshot = self.board.snapshot.load();
        within_a_frame(snapshot.iter().map(|engine| EngineReport::clone(&engine.report)).collect())
    }

    /// The engine of that id, if it answers.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Engine> {
        self.board.snapshot.load().iter().find(|engine| engine.report.id.as_str() == id).cloned()
    }

    /// Waits for a change that this handle has not seen; for ever once watching has ended.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until every place has been looked at once, so that a first report is a full one.
    pub async fn looked(&self) {
        let mut unseen = self.board.unseen.subscribe();
        // The sender lives in the board, which this handle keeps alive.
        let _ = unseen.wait_for(|unseen| *unseen == 0).await;
    }

    /// Looks at this engine at once: a request to it has failed.
    pub fn suspect(&self, id: &EngineId) {
        self.board.suspect(id);
    }
}

/// What the watchers know, and who wants to hear of it.
#[derive(Debug)]
struct Board {
    places: Mutex<Vec<Place>>,
    snapshot: ArcSwap<Vec<Engine>>,
    changes: notice::Sender<u64>,
    unseen: notice::Sender<usize>,
}

/// One address under watch.
#[derive(Debug, Default)]
struct Place {
    engine: Option<Engine>,
    looked: bool,
    look_now: Arc<Notify>,
}

impl Board {
    fn new(places: usize) -> Self {
        Self {
            places: Mutex::new((0..places).map(|_| Place::default()).collect()),
            snapshot: ArcSwap::default(),
            changes: notice::Sender::new(0),
            unseen: notice::Sender::new(places),
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_now(&self, index: usize) -> Arc<Notify> {
        self.places()[index].look_now.clone()
    }

    /// Records what a look at a place showed; tells everyone when that differs from before.
    fn record(&self, index: usize, engine: Option<Engine>) {
        let mut places = self.places();
        let place = &mut places[index];
        let first = !std::mem::replace(&mut place.looked, true);
        let differs = place.engine != engine;
        if differs {
            place.engine = engine;
            let present = places.iter().filter_map(|place| place.engine.clone()).collect();
            self.snapshot.store(Arc::new(present));
        }
        drop(places);
        if differs {
            self.changes.send_modify(|count| *count += 1);
        }
        if first {
            self.unseen.send_modify(|unseen| *unseen -= 1);
        }
    }

    fn suspect(&self, id: &EngineId) {
        let places = self.places();
        let has_id = |place: &&Place| place.engine.as_ref().is_some_and(|engine| engine.report.id == *id);
        if let Some(place) = places.iter().find(has_id) {
            place.look_now.notify_one();
        }
    }
}

/// Leaves out the models that one message could not hold together with those before them.
fn within_a_frame(mut reports: Vec<EngineReport>) -> Vec<EngineReport> {
    let mut room = REPORTS_BYTES_MAX;
    for report in &mut reports {
        let fitting = report.models.iter().take_while(|model| {
            let digest = model.digest.as_ref().map_or(0, String::len);
            let needed = model.name.as_str().len() + digest + MODEL_NUMBERS_BYTES_MAX;
            room.checked_sub(needed).inspect(|rest| room = *rest).is_some()
        });
        let count = fitting.count();
        if count < report.models.len() {
            debug!(engine = %report.id, left_out = report.models.len() - count, "too many models for one message");
            report.models.truncate(count);
        }
    }
    reports
}

/// An address to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    url: EngineUrl,
    /// The owner says so; otherwise the engine is asked.
    kind: Option<EngineKind>,
    /// Whom to expect first.
    likely: Option<EngineKind>,
    /// Whether the owner named it, and therefore wants to hear when it is not there.
    given: bool,
    /// Sets apart engines of one port on several hosts.
    suffix: usize,
}

impl Target {
    fn id(&self, kind: EngineKind) -> Option<EngineId> {
        let kind = kind.as_str().replace('_', "-");
        let port = self.url.port();
        let id = match self.suffix {
            0 => format!("{kind}-{port}"),
            n => format!("{kind}-{port}.{}", n + 1),
        };
        id.parse().ok()
    }
}

/// What was given first, then the usual places that it leaves; no place twice.
fn targets(given: Vec<GivenEngine>, discover: bool) -> Vec<Target> {
    let usual = |port| DEFAULT_PORTS.iter().find(|(usual, _)| *usual == port).map(|(_, kind)| *kind);
    let mut targets: Vec<Target> = Vec::new();
    let mut add = |url: EngineUrl, kind, given| {
        if targets.iter().all(|target| target.url != url) {
            let port = url.port();
            let suffix = targets.iter().filter(|target| target.url.port() == port).count();
            targets.push(Target { url, kind, likely: usual(port), given, suffix });
        }
    };
    for engine in given.into_iter().take(GIVEN_MAX) {
        add(engine.url, engine.kind, true);
    }
    for (port, _) in DEFAULT_PORTS.iter().filter(|_| discover) {
        add(EngineUrl::new(Host::Loopback, *port), None, false);
    }
    targets
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
