//! The proxy port: TLS with the agent's certificate, then the id, then the pairing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{
    AgentId, codec,
    message::{NewProxyConn, ProxyMode},
    tls,
    tunnel::NOTSENT_LOWAT_BYTES,
    workers::Workers,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Connection, Pairing, Presented, pairing::Waiter};
use crate::registry::Registry;

/// A proxy connection at the server.
pub type ProxyStream = TlsStream<TcpStream>;

/// Connections that may be in their handshake at once.
const HANDSHAKES_MAX: usize = 4096;
/// The longest frame that presents an id.
const FIRST_FRAME_BYTES_MAX: u32 = 64;

/// The proxy port.
#[derive(Clone)]
pub struct Listener {
    /// Where proxy connections find whoever waits for them.
    pub pairing: Pairing,
    /// For the session of an agent that presents what is not its own.
    pub registry: Registry,
    /// Where connections live.
    pub workers: Arc<Workers>,
    /// Asks for the agent's certificate.
    pub acceptor: TlsAcceptor,
    /// From accept to the id.
    pub first_byte_timeout: Duration,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    /// Accepts until `shutdown`. Connections go to the workers in turn.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = crate::net::accept(&listener) => accepted,
                () = shutdown.cancelled() => return,
            };
            let (tcp, from) = accepted;
            let worker = self.workers.take_turn();
            let Ok(tcp) = tcp.into_std() else { continue };
            let port = self.clone();
            self.workers.handle(worker).spawn(async move {
                let presented = timeout(port.first_byte_timeout, port.receive(tcp, from)).await;
                drop(permit);
                match presented {
                    Ok(Ok(Some((stream, waiter)))) => hand_over(stream, waiter, worker).await,
                    Ok(Ok(None)) => debug!(%from, "a proxy connection that nobody waits for"),
                    Ok(Err(error)) => debug!(%from, %error, "no proxy connection"),
                    Err(_) => debug!(%from, "a proxy connection without an id"),
                }
            });
        }
    }

    /// From a socket to the waiter of the id that it presents.
    async fn receive(
        &self,
        tcp: std::net::TcpStream,
        from: SocketAddr,
    ) -> std::io::Result<Option<(ProxyStream, Waiter)>> {
        let tcp = TcpStream::from_std(tcp)?;
        tune(&tcp);
        let mut stream = self.acceptor.accept(tcp).await?;
        let agent =
            agent_of(&stream).ok_or_else(|| std::io::Error::other("the certificate names no agent"))?;
        let id = read_first_frame(&mut stream).await?.proxy_conn_id;
        match self.pairing.take(id, agent) {
            Ok(waiter) => Ok(waiter.map(|waiter| (stream, waiter))),
            Err(error) => {
                warn!(agent = %agent.short(), %from, audit = true, "presented another agent's proxy connection");
                if let Some(agent) = self.registry.agent(agent) {
                    agent.stop.cancel();
                }
                Err(std::io::Error::other(error))
            }
        }
    }
}

async fn hand_over(stream: ProxyStream, waiter: Waiter, worker: usize) {
    let Waiter { mode, sibling, asker } = waiter;
    match mode {
        ProxyMode::Dedicated => asker.hand_over(Presented::Raw(Box::new(stream))),
        ProxyMode::Multiplexed | ProxyMode::Bulk => {
            match Connection::start(stream, worker, mode, sibling).await {
                Ok(connection) => asker.hand_over(Presented::Multiplexed(connection)),
                Err(error) => debug!(%error, "no HTTP/2 on a proxy connection"),
            }
        }
    }
}

/// Who an agent is: what its certificate says.
pub fn agent_of<T>(stream: &TlsStream<T>) -> Option<AgentId> {
    tls::agent_of(stream.get_ref().1.peer_certificates()?.first()?)
}

/// Reads exactly the first frame, for what follows belongs to another protocol.
async fn read_first_frame(stream: &mut ProxyStream) -> std::io::Result<NewProxyConn> {
    let length = stream.read_u32().await?;
    if length > FIRST_FRAME_BYTES_MAX {
        return Err(std::io::Error::other("the first frame is too long"));
    }
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..]).await?;
    let mut decoder = codec::Decoder::default();
    decoder.push(&frame);
    decoder
        .next_message()
        .map_err(std::io::Error::other)?
        .ok_or_else(|| std::io::Error::other("an empty frame"))
}

fn tune(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let socket = socket2::SockRef::from(tcp);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES);
        let _ = socket.set_tcp_user_timeout(Some(crate::net::USER_TIMEOUT));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}
