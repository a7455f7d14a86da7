//! Asks a broker for its metadata, as a client does first.

use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Size, API key 3 (metadata), version 1, correlation id 7, no client id, no topics.
const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the broker counts itself among those on which topics can be made.
pub fn is_ready(port: u16) -> bool {
    brokers(port).is_ok_and(|count| count > 0)
}

fn brokers(port: u16) -> Result<i32> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&REQUEST)?;
    // Size and correlation id stand before the number of brokers.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(i32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]))
}
