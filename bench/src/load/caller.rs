//! One caller's connection: a request out, an answer in.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    net::prepare,
    wire::{Body, Framing, read_head},
};

pub const SMALL_BUFFER_BYTES: usize = 8 * 1024;
const ERROR_TEXT_BYTES_MAX: usize = 400;

pub struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer that came whole.
#[derive(Debug)]
pub struct Answer {
    pub first_byte: Instant,
    /// The connection cannot be used again.
    pub closes: bool,
}

impl Caller {
    pub async fn connect(address: SocketAddr, buffer_bytes: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        Ok(Self { stream, buffer: vec![0; buffer_bytes] })
    }

    /// Sends a request and reads its answer to the end, the body through `sink`; fails unless it is a 200.
    pub async fn exchange(&mut self, request: &[u8], mut sink: impl FnMut(&[u8])) -> Result<Answer> {
        self.stream.write_all(request).await?;
        let mut filled = self.read(0).await?;
        let first_byte = Instant::now();
        let (status, closes, framing, head_bytes) = loop {
            if let Some(head) = read_head(&self.buffer[..filled])? {
                let framing = head.framing.unwrap_or(Framing::UntilClose);
                break (head.status()?, head.closes, framing, head.bytes);
            }
            filled += self.read(filled).await?;
        };
        let mut body = Body::new(framing);
        let mut error_text = Vec::new();
        let mut take = |part: &[u8]| match status {
            200 => sink(part),
            _ => error_text.extend_from_slice(part),
        };
        let used = body.feed(&self.buffer[head_bytes..filled], &mut take)?;
        ensure!(used == filled - head_bytes, "bytes after the answer");
        while !body.is_done() {
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                body.close()?;
                break;
            }
            ensure!(body.feed(&self.buffer[..count], &mut take)? == count, "bytes after the answer");
        }
        if status != 200 {
            error_text.truncate(ERROR_TEXT_BYTES_MAX);
            bail!("status {status}: {}", String::from_utf8_lossy(&error_text));
        }
        Ok(Answer { first_byte, closes: closes || framing == Framing::UntilClose })
    }

    async fn read(&mut self, from: usize) -> Result<usize> {
        let count = self.stream.read(&mut self.buffer[from..]).await?;
        ensure!(count > 0, "closed before the answer's head");
        Ok(count)
    }
}
