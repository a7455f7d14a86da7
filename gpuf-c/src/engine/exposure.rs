//! Whether an engine can be reached from beyond this host, past the key check.

use tracing::warn;

/// Warns if somebody listens on `port` of every address of this host. Known on Linux only.
pub fn warn_if_exposed(port: u16) {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    if tables.into_iter().flatten().any(|table| listens_beyond_loopback(&table, port)) {
        warn!(
            port,
            "an engine listens on every address of this host: whoever reaches this port uses it without \
             a key; let it listen on 127.0.0.1 only"
        );
    }
}

/// Reads the kernel's table: local address and state are the second and fourth column.
fn listens_beyond_loopback(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    table.lines().any(|line| {
        let mut columns = line.split_ascii_whitespace();
        let Some((address, at)) = columns.nth(1).and_then(|local| local.split_once(':')) else {
            return false;
        };
        let is_any = !address.is_empty() && address.bytes().all(|digit| digit == b'0');
        is_any && u16::from_str_radix(at, 16) == Ok(port) && columns.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
        \x20  0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
        \x20  1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
        \x20  2: 00000000:1F41 0100007F:D431 01 00000000:00000000 00:00000000 00000000\n";

    #[test]
    fn only_a_listener_on_every_address_counts() {
        assert!(!listens_beyond_loopback(TABLE, 11_434), "listens on loopback");
        assert!(listens_beyond_loopback(TABLE, 8080));
        assert!(!listens_beyond_loopback(TABLE, 8001), "a connection, no listener");
        let table = "   0: 00000000000000000000000000000000:7530 00000000000000000000000000000000:0000 0A 0";
        assert!(listens_beyond_loopback(table, 30_000));
        assert!(!listens_beyond_loopback("", 80));
    }
}
