//! The one connection for operations, and when it is given up.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, aio,
    aio::MultiplexedConnection, cmd,
};
use tokio::{sync::watch, time::timeout};
use tracing::{debug, info, warn};

use crate::{
    cache::{Error, Health, breaker::Breaker},
    secret::SecretUrl,
};

/// A connection is made within this, behind the backs of those who ask.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// While there is no connection, whoever asks is told so at once: making one is the courier's part, and so is
/// the one probe of a Redis that was given up.
pub(super) struct Link {
    client: Client,
    deadline: Duration,
    state: Mutex<State>,
    up: watch::Sender<bool>,
    errors: AtomicU64,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Of the connection, so that what fails late on an earlier one is not held against it.
    epoch: u64,
    breaker: Breaker,
    /// Whether the log says that it is away.
    told: bool,
}

impl Link {
    pub(super) fn new(url: &SecretUrl, deadline: Duration) -> Result<Self, Error> {
        if url.scheme() == "rediss" {
            // The library takes the process's provider; it fails only where there is one already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let refused = |error: RedisError| Error::Url { url: url.clone(), reason: error.to_string() };
        Ok(Self {
            client: Client::open(url.expose()).map_err(refused)?,
            deadline,
            state: Mutex::default(),
            up: watch::Sender::new(false),
            errors: AtomicU64::new(0),
        })
    }

    /// The answer to one command; `None` where there is none in time.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let (mut connection, epoch) = self.connection()?;
        self.in_time(epoch, command.query_async(&mut connection)).await
    }

    /// Whether all commands were carried out in time.
    pub(super) async fn ask_all(&self, commands: &Pipeline) -> bool {
        let Some((mut connection, epoch)) = self.connection() else { return false };
        self.in_time(epoch, commands.exec_async(&mut connection)).await.is_some()
    }

    /// Waits until there is a connection.
    pub(super) async fn up(&self) {
        // The sender lives as long as this does.
        let _ = self.up.subscribe().wait_for(|up| *up).await;
    }

    /// Waits until there is none.
    pub(super) async fn down(&self) {
        let _ = self.up.subscribe().wait_for(|up| !*up).await;
    }

    /// When the next connection may be tried, where Redis is left alone.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.state().breaker.probe_at()
    }

    /// Tries to make a connection, asks for a sign of life on it, and lets `first` be done before anybody else
    /// uses it.
    pub(super) async fn connect(&self, first: &[Pipeline]) -> bool {
        let connecting = async {
            // Our own deadlines cover the whole of an operation; the library's would only end it differently.
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            cmd("PING").exec_async(&mut connection).await?;
            for commands in first {
                commands.exec_async(&mut connection).await?;
            }
            RedisResult::Ok(connection)
        };
        match timeout(CONNECT_DEADLINE, connecting).await {
            Ok(Ok(connection)) => {
                self.connected(connection);
                return true;
            }
            Ok(Err(error)) => self.not_connected(&error),
            Err(_) => self.not_connected(&"no answer in time"),
        }
        false
    }

    /// A connection that only listens.
    pub(super) async fn subscribe(&self, channel: &str) -> Option<aio::PubSub> {
        let subscribing = async {
            let mut listening = self.client.get_async_pubsub().await?;
            listening.subscribe(channel).await?;
            RedisResult::Ok(listening)
        };
        match timeout(CONNECT_DEADLINE, subscribing).await {
            Ok(Ok(listening)) => return Some(listening),
            Ok(Err(error)) => debug!(%error, "cannot listen for revocations"),
            Err(_) => debug!("cannot listen for revocations: no answer in time"),
        }
        self.errors.fetch_add(1, Ordering::Relaxed);
        None
    }

    pub(super) fn health(&self) -> Health {
        let breaker_open = self.state().breaker.is_open();
        Health { errors: self.errors.load(Ordering::Relaxed), breaker_open }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.state();
        state.connection.clone().map(|connection| (connection, state.epoch))
    }

    async fn in_time<T>(&self, epoch: u64, answer: impl Future<Output = RedisResult<T>>) -> Option<T> {
        match timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => {
                self.answered(epoch);
                return Some(answer);
            }
            Ok(Err(error)) => self.failed(epoch, error.is_unrecoverable_error(), &error),
            Err(_) => self.failed(epoch, false, &"no answer in time"),
        }
        None
    }

    fn answered(&self, epoch: u64) {
        let mut state = self.state();
        if state.epoch == epoch {
            state.breaker.succeeded();
        }
    }

    /// Counts a failed operation, and gives the connection up where that is the end of it.
    fn failed(&self, epoch: u64, lost: bool, why: &dyn std::fmt::Display) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        debug!(error = %why, "Redis did not do it");
        let mut state = self.state();
        if state.epoch != epoch || state.connection.is_none() {
            return;
        }
        let opened = state.breaker.failed(Instant::now());
        if opened {
            tell_once(&mut state, why);
        }
        if opened || lost {
            state.connection = None;
            self.up.send_replace(false);
        }
    }

    fn connected(&self, connection: MultiplexedConnection) {
        let mut state = self.state();
        state.connection = Some(connection);
        state.epoch += 1;
        state.breaker.succeeded();
        state.told = false;
        self.up.send_replace(true);
        info!("connected to Redis");
    }

    fn not_connected(&self, why: &dyn std::fmt::Display) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.breaker.failed(Instant::now());
        tell_once(&mut state, why);
    }
}

/// Once per absence, however long it lasts.
fn tell_once(state: &mut State, why: &dyn std::fmt::Display) {
    if !std::mem::replace(&mut state.told, true) {
        warn!(error = %why, "Redis does not answer; keys are looked up without it");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    /// The certificate is a stranger's, so the client must get as far as to refuse it.
    #[tokio::test]
    async fn tls_finds_its_cryptography_and_checks_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = SecretUrl::new(format!("rediss://localhost:{}", listener.local_addr().unwrap().port()));
        let link = Link::new(&url, CONNECT_DEADLINE).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let accepted = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
            // Under TLS 1.3 the server may hear of the refusal only afterwards.
            if let Ok(mut stream) = accepted {
                let _ = stream.read(&mut [0; 64]).await;
            }
        });
        let error = link.client.get_multiplexed_async_connection().await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
        serving.await.unwrap();
    }
}
