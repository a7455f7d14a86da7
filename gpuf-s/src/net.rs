//! Listening sockets: bound with clear errors, and accepted from without a busy loop.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// A peer that acknowledges nothing for this long is gone.
pub const USER_TIMEOUT: Duration = Duration::from_secs(20);
const BACKLOG: i32 = 4096;
/// Accepting fails when descriptors run out: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`, alone or as one of several that share it.
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if shared {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(unix))]
    let _ = shared;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The next connection. An error of the listener itself is waited out.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Raises the number of files that this process may open to what the system allows; the number, or
/// `None` where nobody tells.
pub fn raise_file_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the answer, and the call keeps no pointer to it.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
            return None;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: `raised` is a valid limit, read during the call only.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
        Some(if done { raised.rlim_cur } else { limit.rlim_cur })
    }
    #[cfg(not(unix))]
    None
}

/// `host:port` under which others reach a listener: the name it was given, or else this host's own
/// address on the way to the rest of the network.
pub fn advertised(name: Option<&crate::config::Host>, listener: SocketAddr) -> String {
    if let Some(name) = name {
        return name.with_port(listener.port());
    }
    let ip = if listener.ip().is_unspecified() { primary_address() } else { listener.ip() };
    SocketAddr::new(ip, listener.port()).to_string()
}

/// The address that this host would use towards the internet. Connecting a datagram socket asks the
/// routing table and sends nothing.
fn primary_address() -> std::net::IpAddr {
    let ask = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    ask().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |address: SocketAddr| address.ip())
}
