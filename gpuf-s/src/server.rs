//! The composition root: the only room that sees all others, puts them together and takes them apart.

mod fleet;
mod records;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    ServerId,
    message::Welcome,
    session::ServerTimers,
    tls,
    tunnel::{ALPN_CONTROL, ALPN_ENROL, ALPN_PROXY},
    workers::Workers,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use records::Records;

use crate::{
    api::Api,
    auth::{AdminToken, Authenticator, Ca, Tenants, Watch, admin, ca, desk::JoinPoint},
    bus,
    cache::{self, Cache},
    config::Config,
    control::{self, Control, TlsConfigs},
    data_dir::{self, Addresses, DataDir, PublishedAddresses},
    dispatch::{self, Dispatcher},
    net, outbox,
    public::{self, Door, PerAddress, PublicTls},
    registry::Registry,
    roster::Roster,
    store::{self, ServerRow, Store, UnixSeconds},
    telemetry::Metrics,
    tunnel::{self, Pairing},
};

/// Agents up to which data connections are opened before a request needs them.
const WARM_AGENTS_MAX: usize = 64;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// Share of the file limit that callers may take, in percent: agents and files need the rest.
const CALLERS_FILES_PERCENT: u64 = 80;

/// Why the server cannot start. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A port is taken, or an address is not this host's.
    #[error("cannot listen on {address} ({port} port): {error}; choose another with --{port}-port")]
    Listen {
        /// Which of the four.
        port: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// No threads.
    #[error("cannot start worker threads: {0}")]
    Workers(io::Error),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The authority or a certificate.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// The admin token.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// Certificates that do not work.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
    /// Kafka.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The public port's certificate.
    #[error(transparent)]
    PublicTls(#[from] public::TlsError),
}

/// A server that serves.
#[derive(Debug)]
pub struct Server {
    addresses: Addresses,
    data: PathBuf,
    store: Store,
    ca: Arc<Ca>,
    registry: Registry,
    limits: crate::config::Limits,
    lame: CancellationToken,
    drain: CancellationToken,
    ended: CancellationToken,
    closing: CancellationToken,
    callers: TaskTracker,
    rooms: Vec<JoinHandle<()>>,
    keepers: Vec<JoinHandle<()>>,
    records: Records,
    _workers: Arc<Workers>,
    _published: PublishedAddresses,
}

/// Starts a server and runs it until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let server = Server::start(config).await?;
    let addresses = server.addresses();
    info!(
        public = %addresses.public, api = %addresses.api, control = %addresses.control, proxy = %addresses.proxy,
        data_dir = %server.data.display(), "serving"
    );
    server.run_until(shutdown).await;
    Ok(())
}

/// The four listening sockets.
struct Sockets {
    control: std::net::TcpListener,
    proxy: std::net::TcpListener,
    public: Vec<std::net::TcpListener>,
    api: std::net::TcpListener,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, Error> {
        let listen = |port, address, shared| {
            net::listen(address, shared).map_err(|error| Error::Listen { port, address, error })
        };
        // One socket per worker: the kernel spreads callers without a thread in between.
        let first = listen("public", config.public, config.workers.get() > 1)?;
        let address = local(&first, config.public);
        let others = (1..config.workers.get()).map(|_| listen("public", address, true));
        Ok(Self {
            control: listen("control", config.control, false)?,
            proxy: listen("proxy", config.proxy, false)?,
            api: listen("api", config.api, false)?,
            public: std::iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?,
        })
    }

    fn addresses(&self, config: &Config) -> Addresses {
        Addresses {
            pid: std::process::id(),
            control: local(&self.control, config.control),
            proxy: local(&self.proxy, config.proxy),
            public: local(&self.public[0], config.public),
            api: local(&self.api, config.api),
        }
    }
}

fn local(listener: &std::net::TcpListener, wanted: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(wanted)
}

impl Server {
    /// Opens everything and begins to serve.
    ///
    /// # Errors
    /// As [`Error`] says; nothing is left behind.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let data = DataDir::open(&config.data_dir)?;
        let admin = AdminToken::open(&data)?;
        let store = Store::open(&config.state.database, &data).await?;
        let advertised = config.advertise.as_ref().map(crate::config::Host::as_str);
        let own = config.proxy_certificate.as_ref();
        let place = ca::Place { data: &data, shared: config.state.authority_dir.as_deref() };
        let ca = Arc::new(Ca::open(place, advertised, own, UnixSeconds::now())?);
        let sockets = Sockets::bind(&config)?;
        let addresses = sockets.addresses(&config);
        let workers = Arc::new(Workers::start("worker", config.workers).map_err(Error::Workers)?);
        let (cache, courier) = Cache::open(config.state.redis.as_ref())?;
        let (authenticator, keeper) =
            Authenticator::new(store.clone(), cache, config.api_key.clone(), Instant::now());
        let watch = Watch::new(store.clone(), authenticator.clone());
        let records = Records::start(&config.state, &data, &store).await?;
        let metrics = Metrics::default();
        let registry = Registry::default();
        let roster = Roster::new(own_row(&config, &addresses, &ca)?);
        let pairing = Pairing::default();
        let tokens = <[CancellationToken; 4]>::default();
        let [lame, drain, ended, closing] = tokens;
        let limits = config.limits;
        let callers = TaskTracker::new();
        let dispatcher = Dispatcher::new(registry.clone(), dispatch_settings(&limits), metrics.clone());
        let public_tls = config.public_certificate.clone().map(PublicTls::open).transpose()?;
        let shared = Arc::new(public::Shared {
            auth: authenticator.clone(),
            dispatcher,
            limits,
            usage: records.recorder.clone(),
            metrics: metrics.clone(),
            tls: public_tls.clone(),
            connections: Arc::new(Semaphore::new(callers_max())),
            per_address: PerAddress::new(limits.connections_per_address_max),
            lame: lame.clone(),
            drain: drain.clone(),
            tracker: callers.clone(),
        });
        let control = Control::new(control::Shared {
            registry: registry.clone(),
            roster: roster.clone(),
            pairing: pairing.clone(),
            ca: ca.clone(),
            store: store.clone(),
            recorder: records.recorder.clone(),
            tls: control_tls(&ca)?,
            timers: session_timers(&limits),
            dial_timeout: limits.proxy_dial,
            welcome: welcome(&limits, addresses.proxy.port(), &roster),
            warm_agents_max: WARM_AGENTS_MAX,
            drain: limits.drain_stream,
            ended: ended.clone(),
        });
        let proxy = tunnel::Listener {
            pairing,
            registry: registry.clone(),
            workers: workers.clone(),
            acceptor: proxy_acceptor(&ca)?,
            first_byte_timeout: limits.first_byte,
        };
        let api = Api {
            store: store.clone(),
            authenticator,
            admin,
            tenants: Tenants::new(store.clone(), Instant::now()),
            join: Some(JoinPoint {
                control: net::advertised(config.advertise.as_ref(), addresses.control),
                fingerprint: ca.fingerprint(),
            }),
            fleet: Arc::new(fleet::View {
                registry: registry.clone(),
                roster: roster.clone(),
                lame: lame.clone(),
            }),
            metrics,
            records: records.figures.clone(),
            address: addresses.api,
            advertise: config.advertise.clone(),
            hosts: config.api_hosts.clone(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let (snapshots, snapshots_end) = (registry.clone(), ended.clone());
        let mut rooms = vec![
            tokio::spawn(control.run(tokio_listener(sockets.control)?, drain.clone())),
            tokio::spawn(proxy.run(tokio_listener(sockets.proxy)?, ended.clone())),
            tokio::spawn(api.serve(tokio_listener(sockets.api)?, ended.clone())),
            tokio::spawn(async move {
                let _ = snapshots_end.run_until_cancelled(snapshots.keep_snapshot()).await;
            }),
        ];
        if config.state.database.is_shared() {
            let (store, registry) = (store.clone(), registry.clone());
            rooms.push(tokio::spawn(roster.run(store, registry, lame.clone(), ended.clone())));
        }
        rooms.extend(public_tls.map(|tls| tokio::spawn(tls.watch(drain.clone()))));
        for (worker, listener) in sockets.public.into_iter().enumerate() {
            let door = Door { shared: shared.clone(), worker };
            let drain = drain.clone();
            workers.handle(worker).spawn(async move {
                match tokio_listener(listener) {
                    Ok(listener) => public::serve(door, listener, drain).await,
                    Err(error) => warn!(%error, "a worker does not accept"),
                }
            });
        }
        let published = addresses.publish(&data)?;
        Ok(Self {
            keepers: vec![
                tokio::spawn(keeper.run(closing.clone())),
                tokio::spawn(watch.run(closing.clone())),
                tokio::spawn(courier.run(closing.clone())),
            ],
            records,
            addresses,
            data: config.data_dir,
            store,
            ca,
            registry,
            limits,
            lame,
            drain,
            ended,
            closing,
            callers,
            rooms,
            _workers: workers,
            _published: published,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Its authority.
    #[must_use]
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Who is connected.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Serves until `shutdown`, then drains: not ready at once, no further connections after the lame
    /// duck's time, and the end when the last answer has gone or its time is up.
    pub async fn run_until(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        self.lame.cancel();
        self.callers.close();
        info!(connections = self.callers.len(), "draining");
        // Whoever balances load between servers needs this long to notice.
        tokio::time::sleep(self.limits.drain_lame).await;
        self.drain.cancel();
        if timeout(self.limits.drain_stream, self.callers.wait()).await.is_err() {
            warn!(connections = self.callers.len(), "connections are cut: they took too long");
        }
        self.ended.cancel();
        for room in self.rooms {
            let abort = room.abort_handle();
            if timeout(Duration::from_secs(1), room).await.is_err() {
                abort.abort();
            }
        }
        self.closing.cancel();
        for keeper in self.keepers {
            let _ = keeper.await;
        }
        self.records.end().await;
        self.store.close().await;
        info!("stopped");
    }
}

fn tokio_listener(listener: std::net::TcpListener) -> Result<TcpListener, Error> {
    TcpListener::from_std(listener).map_err(Error::Workers)
}

fn control_tls(ca: &Ca) -> Result<TlsConfigs, Error> {
    let ca::Identity { chain, key } = ca.server();
    let enrolment = tls::server_config(chain.clone(), key.clone_key(), &[ALPN_ENROL])?;
    let session = tls::agent_port_config(chain.clone(), key.clone_key(), ca.authority(), ALPN_CONTROL)?;
    Ok(TlsConfigs { enrolment: Arc::new(enrolment), session: Arc::new(session) })
}

fn proxy_acceptor(ca: &Ca) -> Result<TlsAcceptor, Error> {
    let ca::Identity { chain, key } = ca.server();
    let config = tls::agent_port_config(chain.clone(), key.clone_key(), ca.authority(), ALPN_PROXY)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

const fn dispatch_settings(limits: &crate::config::Limits) -> dispatch::Settings {
    dispatch::Settings {
        slot_wait: limits.slot_wait,
        first_token: limits.first_token,
        plain_request: limits.plain_request,
        waiting_per_model_max: limits.waiting_per_model_max,
    }
}

const fn session_timers(limits: &crate::config::Limits) -> ServerTimers {
    ServerTimers { login: limits.first_byte, ping_every: limits.ping_every, dead_after: limits.session_dead }
}

/// This server as the others see it.
fn own_row(config: &Config, addresses: &Addresses, ca: &Ca) -> Result<ServerRow, Error> {
    let at = |address| net::advertised(config.advertise.as_ref(), address);
    let id = ServerId::random().map_err(ca::Error::Random)?;
    Ok(ServerRow {
        id: *id.as_bytes(),
        name: at(addresses.control),
        version: env!("CARGO_PKG_VERSION").into(),
        control: at(addresses.control),
        public: at(addresses.public),
        api: at(addresses.api),
        fingerprint: ca.kinship(),
        started: UnixSeconds::now(),
        seen_unix_ms: 0,
        agents: Vec::new(),
    })
}

fn welcome(limits: &crate::config::Limits, proxy_port: u16, roster: &Roster) -> Welcome {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    Welcome {
        version: env!("CARGO_PKG_VERSION").into(),
        epoch: 0,
        heartbeat_every_ms: millis(HEARTBEAT_EVERY),
        dead_after_ms: millis(limits.session_dead),
        proxy_port,
        servers: Vec::new(),
        server: roster.id(),
    }
}

/// How many callers may be connected, once the file limit is as high as the system lets us have it.
fn callers_max() -> usize {
    let files = net::raise_file_limit().unwrap_or(1024);
    usize::try_from(files * CALLERS_FILES_PERCENT / 100)
        .unwrap_or(Semaphore::MAX_PERMITS)
        .min(Semaphore::MAX_PERMITS)
}
