//! Sockets and free ports on loopback.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use tokio::net::TcpStream;

/// What every socket here needs: small writes leave at once.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// Addresses with ports that were free a moment ago, all different.
pub fn free_addresses<const COUNT: usize>() -> io::Result<[SocketAddr; COUNT]> {
    let mut held = Vec::with_capacity(COUNT);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); COUNT];
    for address in &mut addresses {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}
