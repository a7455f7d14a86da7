//! Free ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

/// Below this live the services of the machine.
const LOWEST: u16 = 16_384;
/// Fewer are too few to draw from.
const CHOICE_MIN: u16 = 1_000;
const TRIES: usize = 100;
const EPHEMERAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A TCP port of 127.0.0.1 on which nothing listens.
///
/// It lies outside of the range from which the system takes the ports of outgoing connections. A service that
/// is down for a while thus finds its port free again; and clients that try to reach it meanwhile do not
/// draw that port for their own end, which would connect them to themselves.
pub fn free() -> u16 {
    let end = first_ephemeral().unwrap_or(0);
    let choice = end.saturating_sub(LOWEST);
    let drawn = |_| (choice >= CHOICE_MIN).then(|| listens(fastrand::u16(LOWEST..end))).flatten();
    let port = (0..TRIES).find_map(drawn).or_else(|| listens(0));
    port.expect("a free port")
}

fn listens(port: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(listener.local_addr().ok()?.port())
}

fn first_ephemeral() -> Option<u16> {
    fs::read_to_string(EPHEMERAL_RANGE).ok()?.split_whitespace().next()?.parse().ok()
}
