//! From an order of the server to a TLS connection that has presented its id.

use std::{sync::Arc, time::Duration};

use common::{ProxyConnId, codec, message::NewProxyConn, tunnel::NOTSENT_LOWAT_BYTES};
use rustls::pki_types::ServerName;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Error;

/// A proxy connection at the agent.
pub type ProxyStream = TlsStream<TcpStream>;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server's proxy port is and how to be trusted there.
#[derive(Clone)]
pub struct Link {
    /// `host:port` of the proxy port.
    pub address: String,
    /// The host part, as the certificate may name it.
    pub name: ServerName<'static>,
    /// With this agent's certificate.
    pub connector: TlsConnector,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Link {
    /// Dials and presents `proxy_conn_id`.
    pub async fn dial(&self, proxy_conn_id: ProxyConnId) -> Result<ProxyStream, Error> {
        timeout(DIAL_TIMEOUT, self.present(proxy_conn_id)).await.map_err(|_| Error::Timeout)?
    }

    async fn present(&self, proxy_conn_id: ProxyConnId) -> Result<ProxyStream, Error> {
        let tcp = TcpStream::connect(&self.address).await?;
        tune(&tcp);
        let mut stream = self.connector.connect(self.name.clone(), tcp).await?;
        let frame = codec::encode(&NewProxyConn { proxy_conn_id }).map_err(std::io::Error::other)?;
        stream.write_all(&frame).await?;
        stream.flush().await?;
        Ok(stream)
    }
}

/// Small writes leave at once, and the kernel queues little ahead of a token.
pub fn tune(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let socket = socket2::SockRef::from(tcp);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES);
        let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(20)));
    }
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(15));
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// A connector for `config` that is shared by all connections to one server, so that TLS sessions resume.
pub fn connector(config: rustls::ClientConfig) -> TlsConnector {
    TlsConnector::from(Arc::new(config))
}
