//! A simulated engine that costs as little as an engine can, so that what is measured is the path to it.

mod answers;
mod request;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, sleep_until},
};

pub use self::answers::CONTENT_MARK;
use self::request::{Request, RequestReader, Route};
use crate::{clock::monotonic_ns, net::prepare};

const LISTEN_BACKLOG: u32 = 4096;
const BULK_WRITE_BYTES: usize = 256 * 1024;
/// After a failed accept (descriptors run out), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the engine says of itself, and how fast it streams.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The one model that it serves.
    #[arg(long, default_value = crate::MODEL)]
    pub model: String,
    /// Requests that it claims to serve at once, as llama.cpp's `/slots` lists them.
    #[arg(long, default_value_t = 4096)]
    pub slots: usize,
    /// Events a second on each stream.
    #[arg(long, default_value_t = 20)]
    pub chunks_per_second: u32,
}

struct Engine {
    answers: answers::Answers,
    started: Instant,
    chunk_every: Duration,
    busy: AtomicUsize,
}

/// Serves until the process ends.
pub async fn serve(options: &Options) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(options.listen).with_context(|| format!("could not listen on {}", options.listen))?;
    let listener = socket.listen(LISTEN_BACKLOG)?;
    println!("listening {}", listener.local_addr()?);
    let engine = Arc::new(Engine {
        answers: answers::Answers::new(&options.model, options.slots),
        started: Instant::now(),
        chunk_every: Duration::from_secs(1) / options.chunks_per_second.max(1),
        busy: AtomicUsize::new(0),
    });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, engine.clone()))),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(mut stream: TcpStream, engine: Arc<Engine>) -> Result<()> {
    prepare(&stream)?;
    let mut reader = RequestReader::default();
    while let Some(request) = reader.next(&mut stream).await? {
        engine.answer(&mut stream, &request).await?;
        if request.closes {
            break;
        }
    }
    Ok(())
}

impl Engine {
    async fn answer(&self, stream: &mut TcpStream, request: &Request) -> Result<()> {
        let _busy = Busy::take(&self.busy);
        match request.route {
            Route::Chat if request.streams => self.stream(stream, request).await,
            _ if request.bulk_bytes > 0 => bulk(stream, request.bulk_bytes).await,
            Route::Slots => {
                let busy = self.busy.load(Ordering::Relaxed).saturating_sub(1);
                Ok(stream.write_all(&self.answers.slots(busy)).await?)
            }
            route => Ok(stream.write_all(self.answers.plain(route)).await?),
        }
    }

    fn next_step(&self) -> Instant {
        let steps = self.started.elapsed().div_duration_f64(self.chunk_every).ceil();
        self.started + self.chunk_every.mul_f64(steps)
    }

    /// The first event goes out with the head; the others keep to their schedule whatever a write took.
    async fn stream(&self, stream: &mut TcpStream, request: &Request) -> Result<()> {
        let begun = if request.in_steps { self.next_step() } else { Instant::now() };
        let mut piece = Vec::with_capacity(512);
        piece.extend_from_slice(answers::STREAM_HEAD);
        for sequence in 0..request.chunks {
            let due = begun + self.chunk_every * sequence;
            if due > Instant::now() {
                sleep_until(due).await;
            }
            self.answers.write_chunk(&mut piece, sequence, monotonic_ns());
            stream.write_all(&piece).await?;
            piece.clear();
        }
        if request.include_usage {
            self.answers.write_usage(&mut piece, request.chunks);
        }
        piece.extend_from_slice(answers::STREAM_END);
        Ok(stream.write_all(&piece).await?)
    }
}

async fn bulk(stream: &mut TcpStream, bytes: u64) -> Result<()> {
    stream.write_all(&answers::bulk_head(bytes)).await?;
    let piece = vec![0x5A; BULK_WRITE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let write_bytes = left.min(BULK_WRITE_BYTES as u64);
        stream.write_all(&piece[..write_bytes as usize]).await?;
        left -= write_bytes;
    }
    Ok(())
}

/// A request in work, counted for `/slots`.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn take(busy: &'a AtomicUsize) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
