//! Who is connected, what they serve, and how busy they are.
//!
//! Writers (sessions) go through a lock that no request takes; requests read a snapshot. An agent is
//! here exactly as long as its [`Registration`] lives.

mod load;
mod snapshot;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use common::{
    AgentId, EngineReport,
    message::{Heartbeat, Login},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use load::{Slot, SlotCount};
pub use snapshot::{Candidate, Snapshot};

use crate::{store::Name, tunnel::Tunnel};

/// Sessions follow each other at least this far apart in the snapshot: many that come at once are
/// taken in together, since taking in costs as much as there are agents.
const REBUILD_EVERY: Duration = Duration::from_millis(10);

/// An agent with a live session.
#[derive(Debug)]
pub struct Agent {
    /// From its certificate.
    pub id: AgentId,
    /// Counts this agent's sessions; the highest is the live one.
    pub epoch: u64,
    /// Who owns it, where somebody does.
    pub owner: Option<Name>,
    /// What it told at login; engines are in [`Self::engines`].
    pub login: Login,
    /// Where it dialled from.
    pub address: SocketAddr,
    /// When its session began.
    pub connected: Instant,
    /// The way to its engines.
    pub tunnel: Tunnel,
    /// Ends its session.
    pub stop: CancellationToken,
    engines: ArcSwap<Vec<Arc<Engine>>>,
    heartbeat: ArcSwapOption<(Instant, Heartbeat)>,
    round_trip_us: AtomicU64,
    leaving: AtomicBool,
    announced: AtomicBool,
}

/// An engine of an agent, as last reported.
#[derive(Debug)]
pub struct Engine {
    /// The report.
    pub report: EngineReport,
    /// Its slots; the same object across reports, so that a report never overwrites what runs.
    pub slots: Arc<SlotCount>,
}

impl Agent {
    /// Its engines as last reported.
    pub fn engines(&self) -> Arc<Vec<Arc<Engine>>> {
        self.engines.load_full()
    }

    /// Its last heartbeat, and when it came.
    pub fn heartbeat(&self) -> Option<Arc<(Instant, Heartbeat)>> {
        self.heartbeat.load_full()
    }

    /// Keeps a heartbeat.
    pub fn set_heartbeat(&self, heartbeat: Heartbeat) {
        self.heartbeat.store(Some(Arc::new((Instant::now(), heartbeat))));
    }

    /// The last measured round trip of its control session.
    pub fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip_us.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Keeps a measured round trip.
    pub fn set_round_trip(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us.store(micros.max(1), Ordering::Relaxed);
    }

    /// Whether it takes no further requests.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn take_report(&self, reports: Vec<EngineReport>, slots_freed: &Arc<Notify>) {
        let known = self.engines.load();
        let engine = |report: EngineReport| {
            let same = known.iter().find(|engine| engine.report.id == report.id);
            let slots =
                same.map_or_else(|| SlotCount::new(slots_freed.clone()), |engine| engine.slots.clone());
            slots.set_total(report.slots);
            Arc::new(Engine { report, slots })
        };
        let engines = reports.into_iter().map(engine).collect();
        self.engines.store(Arc::new(engines));
    }
}

/// All agents of this server.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agents: Mutex<HashMap<AgentId, Arc<Agent>>>,
    snapshot: ArcSwap<Snapshot>,
    changed: Notify,
    epoch: AtomicU64,
    slots_freed: Arc<Notify>,
}

/// What a session brings when it registers.
#[derive(Debug)]
pub struct Newcomer {
    /// From the certificate.
    pub id: AgentId,
    /// Who owns it, where somebody does.
    pub owner: Option<Name>,
    /// From the first message.
    pub login: Login,
    /// Where it dialled from.
    pub address: SocketAddr,
    /// The way to its engines.
    pub tunnel: Tunnel,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                agents: Mutex::default(),
                snapshot: ArcSwap::default(),
                changed: Notify::new(),
                epoch: AtomicU64::new(0),
                slots_freed: Arc::default(),
            }),
        }
    }
}

impl Registry {
    /// Adds an agent; a session that it had before ends at once.
    pub fn register(&self, newcomer: Newcomer) -> Registration {
        let Newcomer { id, owner, mut login, address, tunnel } = newcomer;
        let engines = std::mem::take(&mut login.engines);
        let agent = Arc::new(Agent {
            id,
            owner,
            epoch: self.shared.epoch.fetch_add(1, Ordering::Relaxed) + 1,
            login,
            address,
            connected: Instant::now(),
            tunnel,
            stop: CancellationToken::new(),
            engines: ArcSwap::default(),
            heartbeat: ArcSwapOption::empty(),
            round_trip_us: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            announced: AtomicBool::new(false),
        });
        agent.take_report(engines, &self.shared.slots_freed);
        let before = self.agents_mut().insert(id, agent.clone());
        if let Some(before) = before {
            before.leaving.store(true, Ordering::Relaxed);
            before.stop.cancel();
        }
        self.shared.changed.notify_one();
        Registration { registry: self.clone(), agent }
    }

    /// The agents, in no order.
    pub fn agents(&self) -> Vec<Arc<Agent>> {
        self.agents_mut().values().cloned().collect()
    }

    /// The agent of this identity, if it is connected.
    pub fn agent(&self, id: AgentId) -> Option<Arc<Agent>> {
        self.agents_mut().get(&id).cloned()
    }

    /// Who serves what, as of a few milliseconds ago.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Told when a slot comes free, or when agents or engines come.
    pub fn slots_freed(&self) -> &Arc<Notify> {
        &self.shared.slots_freed
    }

    /// Keeps the snapshot up to date, for as long as it is polled.
    pub async fn keep_snapshot(&self) {
        loop {
            self.shared.changed.notified().await;
            self.rebuild();
            tokio::time::sleep(REBUILD_EVERY).await;
        }
    }

    fn rebuild(&self) {
        let next = Snapshot::of(&self.agents(), &self.shared.snapshot.load());
        self.shared.snapshot.store(Arc::new(next));
        self.shared.slots_freed.notify_waiters();
    }

    fn agents_mut(&self) -> MutexGuard<'_, HashMap<AgentId, Arc<Agent>>> {
        self.shared.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent's place in the registry, given back by dropping it.
#[derive(Debug)]
pub struct Registration {
    registry: Registry,
    agent: Arc<Agent>,
}

impl Registration {
    /// The agent.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Takes in a fresh report of all its engines.
    pub fn set_engines(&self, reports: Vec<EngineReport>) {
        self.agent.take_report(reports, &self.registry.shared.slots_freed);
        self.registry.shared.changed.notify_one();
    }

    /// No further requests go to it.
    pub fn set_leaving(&self) {
        self.agent.leaving.store(true, Ordering::Relaxed);
        self.agent.announced.store(true, Ordering::Relaxed);
        self.registry.shared.changed.notify_one();
    }
}

impl Drop for Registration {
    /// A session that was replaced must not take its successor with it: only the same epoch is removed.
    fn drop(&mut self) {
        self.agent.leaving.store(true, Ordering::Relaxed);
        let mut agents = self.registry.agents_mut();
        if agents.get(&self.agent.id).is_some_and(|agent| agent.epoch == self.agent.epoch) {
            agents.remove(&self.agent.id);
        }
        drop(agents);
        // Who announced that it leaves has ended its streams: what is left of them is on its way, and
        // the agent itself closes the connections behind it.
        if self.agent.announced.load(Ordering::Relaxed) {
            self.agent.tunnel.retire();
        } else {
            self.agent.tunnel.close();
        }
        self.registry.shared.changed.notify_one();
    }
}
