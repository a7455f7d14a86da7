//! Where a command is carried out: at the running server, or on its data directory when it is down.

use std::time::Duration;

use common::AgentId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Error, client::Client};
use crate::{
    api::{self, AgentView, Page},
    auth::{
        Ca, Desk, ca,
        desk::{
            JoinPoint, KeyMade, KeyView, KeyWish, Revoked, TenantMade, TenantView, TenantWish, TokenMade,
            TokenView, TokenWish,
        },
    },
    cache::{Cache, Courier},
    config::Config,
    data_dir::{Addresses, DataDir},
    store::{KeyId, Scope, Store, TenantId, TokenId, UnixSeconds},
};

/// A command waits this long for the servers' cache; without it, they learn from the store within seconds.
const CACHE_DEADLINE: Duration = Duration::from_secs(1);
/// Servers that have said so within this are taken to run.
const SEEN_WITHIN_MS: u64 = 15_000;

pub(super) enum Office {
    /// Over its API, so that what is revoked is refused at once.
    Server(Client),
    /// By our own hands. A server that we did not see learns of it within seconds.
    Folder(Box<Desk>, Errand),
}

/// The way to the servers' cache while a command is carried out.
pub(super) struct Errand {
    courier: JoinHandle<()>,
    done: CancellationToken,
}

impl Errand {
    fn begin(courier: Courier) -> Self {
        let done = CancellationToken::new();
        Self { courier: tokio::spawn(courier.run(done.clone())), done }
    }

    async fn end(self) {
        self.done.cancel();
        let _ = self.courier.await;
    }
}

impl Office {
    pub(super) async fn open(config: &Config) -> Result<Self, Error> {
        let running = Addresses::read(&config.data_dir).filter(|addresses| is_alive(addresses.pid));
        if let Some(addresses) = running
            && let Some(client) = Client::connect(&config.data_dir, &addresses).await?
        {
            return Ok(Self::Server(client));
        }
        Self::open_folder(config).await
    }

    async fn open_folder(config: &Config) -> Result<Self, Error> {
        let data = DataDir::open(&config.data_dir)?;
        let store = Store::open(&config.state.database, &data).await?;
        let (cache, courier) = Cache::open(config.state.redis.as_ref())?;
        let ca = open_ca(config, &data)?;
        let desk = Desk {
            store,
            cache,
            authenticator: None,
            join: Some(JoinPoint {
                control: crate::net::advertised(config.advertise.as_ref(), config.control),
                fingerprint: ca.fingerprint(),
            }),
            actor: "command line".into(),
            scope: Scope::Everything,
        };
        Ok(Self::Folder(Box::new(desk), Errand::begin(courier)))
    }

    /// Ends the work on the folder in order, so that the database is one file again.
    pub(super) async fn close(self) {
        if let Self::Folder(desk, errand) = self {
            errand.end().await;
            desk.store.close().await;
        }
    }

    pub(super) async fn make_key(&mut self, wish: KeyWish) -> Result<KeyMade, Error> {
        match self {
            Self::Server(client) => client.post("/api/v1/keys", &wish).await,
            Self::Folder(desk, _) => {
                desk.cache.connected(CACHE_DEADLINE).await;
                Ok(desk.make_key(wish).await?)
            }
        }
    }

    pub(super) async fn keys(&mut self) -> Result<Page<KeyView>, Error> {
        match self {
            Self::Server(client) => client.get("/api/v1/keys").await,
            Self::Folder(desk, _) => Ok(desk.keys().await?.into()),
        }
    }

    pub(super) async fn revoke_key(&mut self, id: KeyId) -> Result<Revoked, Error> {
        match self {
            Self::Server(client) => client.delete(&format!("/api/v1/keys/{id}")).await,
            Self::Folder(desk, _) => {
                desk.cache.connected(CACHE_DEADLINE).await;
                Ok(desk.revoke_key(id).await?)
            }
        }
    }

    pub(super) async fn make_token(&mut self, wish: TokenWish) -> Result<TokenMade, Error> {
        match self {
            Self::Server(client) => client.post("/api/v1/join-tokens", &wish).await,
            Self::Folder(desk, _)
                if desk.join.as_ref().is_some_and(|point| point.control.ends_with(":0")) =>
            {
                Err(Error::NoControlPort)
            }
            Self::Folder(desk, _) => Ok(desk.make_token(wish).await?),
        }
    }

    pub(super) async fn tokens(&mut self) -> Result<Page<TokenView>, Error> {
        match self {
            Self::Server(client) => client.get("/api/v1/join-tokens").await,
            Self::Folder(desk, _) => Ok(desk.tokens().await?.into()),
        }
    }

    pub(super) async fn revoke_token(&mut self, id: TokenId) -> Result<Revoked, Error> {
        match self {
            Self::Server(client) => client.delete(&format!("/api/v1/join-tokens/{id}")).await,
            Self::Folder(desk, _) => Ok(desk.revoke_token(id).await?),
        }
    }

    pub(super) async fn make_tenant(&mut self, wish: TenantWish) -> Result<TenantMade, Error> {
        match self {
            Self::Server(client) => client.post("/api/v1/tenants", &wish).await,
            Self::Folder(desk, _) => Ok(desk.make_tenant(wish).await?),
        }
    }

    pub(super) async fn tenants(&mut self) -> Result<Page<TenantView>, Error> {
        match self {
            Self::Server(client) => client.get("/api/v1/tenants").await,
            Self::Folder(desk, _) => Ok(desk.tenants().await?.into()),
        }
    }

    pub(super) async fn revoke_tenant(&mut self, id: TenantId) -> Result<Revoked, Error> {
        match self {
            Self::Server(client) => client.delete(&format!("/api/v1/tenants/{id}")).await,
            Self::Folder(desk, _) => Ok(desk.revoke_tenant(id).await?),
        }
    }

    pub(super) async fn agents(&mut self) -> Result<Page<AgentView>, Error> {
        match self {
            Self::Server(client) => every_agent(client).await,
            Self::Folder(desk, _) => {
                let since = UnixSeconds::now().to_ms().saturating_sub(SEEN_WITHIN_MS);
                let elsewhere = desk.store.servers(since).await?;
                Ok(api::agents_listed(&desk.store, &elsewhere).await?.into())
            }
        }
    }

    pub(super) async fn revoke_agent(&mut self, id: AgentId) -> Result<Revoked, Error> {
        match self {
            Self::Server(client) => client.delete(&format!("/api/v1/agents/{id}")).await,
            Self::Folder(desk, _) => Ok(desk.revoke_agent(id).await?),
        }
    }
}

async fn every_agent(client: &mut Client) -> Result<Page<AgentView>, Error> {
    let mut all: Page<AgentView> = client.get("/api/v1/agents").await?;
    while let Some(cursor) = all.next.take() {
        let page: Page<AgentView> = client.get(&format!("/api/v1/agents?cursor={cursor}")).await?;
        all.data.extend(page.data);
        all.next = page.next;
    }
    // They come by their ids; whoever looks wants to see first who is there.
    all.data.sort_by_key(|agent| agent.state != "connected");
    Ok(all)
}

/// Where the authority is kept.
pub(super) fn place<'a>(config: &'a Config, data: &'a DataDir) -> ca::Place<'a> {
    ca::Place { data, shared: config.state.authority_dir.as_deref() }
}

pub(super) fn open_ca(config: &Config, data: &DataDir) -> Result<Ca, Error> {
    let advertised = config.advertise.as_ref().map(crate::config::Host::as_str);
    let own = config.proxy_certificate.as_ref();
    Ok(Ca::open(place(config, data), advertised, own, UnixSeconds::now())?)
}

/// Whether a process of this id exists. It may be another by now; then nobody answers at its address.
#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 asks whether the process exists and sends nothing.
    let asked = unsafe { libc::kill(pid, 0) };
    asked == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(not(unix))]
fn is_alive(_pid: u32) -> bool {
    true
}
