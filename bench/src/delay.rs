//! A user-space path with a round trip: whatever comes in leaves a fixed time later, each way.
//!
//! Throughput is not limited, nothing is lost, and the kernel's slow start is not part of the path; the
//! handshake's round trip is.

mod alarm;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Semaphore, mpsc},
    time::sleep,
};

use self::alarm::Alarm;
use crate::net::prepare;

const READ_BYTES: usize = 64 * 1024;
/// Reads in flight each way; 64 MiB of them when they are full.
const IN_FLIGHT_MAX: usize = 1024;
const CONNECTIONS_MAX: usize = 1024;
/// Parcels up to this size are answers and heads, whose moment matters; larger ones are bulk.
const PRECISE_BYTES_MAX: usize = 4096;

/// Where to listen, where to forward, and how late.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where the bytes go.
    #[arg(long)]
    pub to: SocketAddr,
    /// Delay of each direction in milliseconds.
    #[arg(long, default_value_t = 25)]
    pub one_way_ms: u64,
}

/// Forwards until the process ends.
pub async fn serve(options: &Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("could not listen on {}", options.listen))?;
    println!("listening {}", listener.local_addr()?);
    let alarm = Arc::new(Alarm::new()?);
    tokio::try_join!(accept(options, &listener, &alarm), async { Ok(alarm.run().await?) })?;
    Ok(())
}

async fn accept(options: &Options, listener: &TcpListener, alarm: &Arc<Alarm>) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (to, one_way) = (options.to, Duration::from_millis(options.one_way_ms));
    loop {
        let place = places.clone().acquire_owned().await?;
        let (near, _) = listener.accept().await?;
        let alarm = alarm.clone();
        tokio::spawn(async move {
            // A connection that fails is closed, as on a real path.
            let _ = forward(near, to, one_way, &alarm).await;
            drop(place);
        });
    }
}

/// The dialler's SYN takes one way, the answer another: its first bytes can leave one round trip after the
/// connection was accepted here, and arrive half a round trip after that. A half-close passes after its delay,
/// a failure ends both directions.
async fn forward(mut near: TcpStream, to: SocketAddr, one_way: Duration, alarm: &Alarm) -> Result<()> {
    let accepted = Instant::now();
    sleep(one_way).await;
    let mut far = TcpStream::connect(to).await?;
    prepare(&near)?;
    prepare(&far)?;
    let established = accepted + 2 * one_way;
    let (from_near, to_near) = near.split();
    let (from_far, to_far) = far.split();
    let (out, parcels_out) = mpsc::channel(IN_FLIGHT_MAX);
    let (back, parcels_back) = mpsc::channel(IN_FLIGHT_MAX);
    tokio::try_join!(
        collect(from_near, out, one_way, established),
        deliver(parcels_out, to_far, alarm),
        collect(from_far, back, one_way, accepted),
        deliver(parcels_back, to_near, alarm),
    )
    .map(drop)
}

struct Parcel {
    due: Instant,
    bytes: Vec<u8>,
}

async fn collect(
    mut from: ReadHalf<'_>,
    parcels: mpsc::Sender<Parcel>,
    one_way: Duration,
    not_before: Instant,
) -> Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        let due = Instant::now().max(not_before) + one_way;
        let parcel = Parcel { due, bytes: buffer[..count].to_vec() };
        if parcels.send(parcel).await.is_err() {
            bail!("nobody delivers");
        }
        if count == 0 {
            return Ok(());
        }
    }
}

/// An empty parcel is the end of the direction.
async fn deliver(mut parcels: mpsc::Receiver<Parcel>, mut to: WriteHalf<'_>, alarm: &Alarm) -> Result<()> {
    while let Some(parcel) = parcels.recv().await {
        alarm.wait_until(parcel.due, parcel.bytes.len() <= PRECISE_BYTES_MAX).await?;
        if parcel.bytes.is_empty() {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&parcel.bytes).await?;
    }
    bail!(io::ErrorKind::ConnectionAborted)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE_WAY: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_connection_costs_a_round_trip_and_an_exchange_another() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let path = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (echo_address, path_address) = (echo.local_addr().unwrap(), path.local_addr().unwrap());
        let far = tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).await.unwrap() == 1 {
                stream.write_all(&byte).await.unwrap();
            }
        });
        let middle = tokio::spawn(async move {
            let (near, _) = path.accept().await.unwrap();
            let alarm = Alarm::new().unwrap();
            tokio::select! {
                done = forward(near, echo_address, ONE_WAY, &alarm) => done,
                failed = alarm.run() => Ok(failed?),
            }
        });
        let begun = Instant::now();
        let mut stream = TcpStream::connect(path_address).await.unwrap();
        exchange(&mut stream).await;
        let first = begun.elapsed();
        exchange(&mut stream).await;
        let second = begun.elapsed() - first;
        assert!(first >= 4 * ONE_WAY, "{first:?}");
        assert!((2 * ONE_WAY..3 * ONE_WAY).contains(&second), "{second:?}");
        drop(stream);
        far.await.unwrap();
        middle.await.unwrap().unwrap();
    }

    async fn exchange(stream: &mut TcpStream) {
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    }
}
