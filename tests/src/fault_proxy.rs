//! A TCP proxy that delays, stalls, cuts and crumbles what passes through it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Pieces under way in one direction of one connection.
const PIECES_MAX: usize = 1_024;
const PIECE_BYTES: usize = 16 * 1024;

/// What is to happen with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Flow,
    /// Both sockets stay open and nothing moves.
    Stall,
    CutWithFin,
    CutWithReset,
}

/// How a proxy is set up.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    target: SocketAddr,
    delay: Duration,
    write_bytes_max: usize,
}

impl Builder {
    /// Bytes take this long, each way.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Writes one byte at a time, each way.
    pub fn one_byte_writes(mut self) -> Self {
        self.write_bytes_max = 1;
        self
    }

    /// Listens on a free port.
    pub async fn start(self) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, self, Arc::clone(&shared)));
        FaultProxy { addr, shared, accepting }
    }
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Vec<watch::Sender<Order>>>,
    first_order: Mutex<Order>,
    opened: AtomicUsize,
    open: AtomicUsize,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            orders: Mutex::default(),
            first_order: Mutex::new(Order::Flow),
            opened: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
        }
    }
}

/// A running proxy. Dropped, it closes all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of `target`.
    pub fn to(target: SocketAddr) -> Builder {
        Builder { target, delay: Duration::ZERO, write_bytes_max: PIECE_BYTES }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops what moves on the connections that are open; later ones flow.
    pub fn stall_open(&self) {
        self.order(Order::Stall);
    }

    /// Stops what moves on open and later connections: the far side has fallen silent.
    pub fn stall(&self) {
        self.set_first(Order::Stall);
        self.order(Order::Stall);
    }

    /// Lets everything flow.
    pub fn flow(&self) {
        self.set_first(Order::Flow);
        self.order(Order::Flow);
    }

    /// Closes the open connections by FIN in both directions, in the middle of whatever they carry.
    pub fn cut_with_fin(&self) {
        self.order(Order::CutWithFin);
    }

    /// Resets the open connections.
    pub fn cut_with_reset(&self) {
        self.order(Order::CutWithReset);
    }

    /// Resets open and later connections until `flow` is called.
    pub fn refuse(&self) {
        self.set_first(Order::CutWithReset);
        self.order(Order::CutWithReset);
    }

    /// Connections accepted so far.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Bytes delivered to the target.
    pub fn bytes_up(&self) -> u64 {
        self.shared.bytes_up.load(Ordering::Relaxed)
    }

    /// Bytes delivered from the target.
    pub fn bytes_down(&self) -> u64 {
        self.shared.bytes_down.load(Ordering::Relaxed)
    }

    fn order(&self, order: Order) {
        let mut orders = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.retain(|connection| !connection.is_closed());
        for connection in orders.iter() {
            connection.send_replace(order);
        }
    }

    fn set_first(&self, order: Order) {
        *self.shared.first_order.lock().unwrap_or_else(PoisonError::into_inner) = order;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.order(Order::CutWithFin);
    }
}

async fn accept(listener: TcpListener, setup: Builder, shared: Arc<Shared>) {
    while let Ok((near, _)) = listener.accept().await {
        shared.opened.fetch_add(1, Ordering::Relaxed);
        let first = *shared.first_order.lock().unwrap_or_else(PoisonError::into_inner);
        let (order, ordered) = watch::channel(first);
        shared.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.open.fetch_add(1, Ordering::Relaxed);
            carry(near, setup, ordered, &shared).await;
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn carry(mut near: TcpStream, setup: Builder, mut ordered: watch::Receiver<Order>, shared: &Shared) {
    if *ordered.borrow() == Order::CutWithReset {
        return reset(&near);
    }
    let Ok(mut far) = TcpStream::connect(setup.target).await else { return reset(&near) };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let order = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let up = pump(near_read, far_write, setup, ordered.clone(), &shared.bytes_up);
        let down = pump(far_read, near_write, setup, ordered.clone(), &shared.bytes_down);
        tokio::select! {
            _ = async { tokio::join!(up, down) } => Order::Flow,
            order = told_to_cut(&mut ordered) => order,
        }
    };
    if order == Order::CutWithReset {
        reset(&near);
        reset(&far);
    } else {
        let _ = (near.shutdown().await, far.shutdown().await);
    }
}

/// A close that follows sends RST.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn told_to_cut(ordered: &mut watch::Receiver<Order>) -> Order {
    let cut = |order: &Order| matches!(order, Order::CutWithFin | Order::CutWithReset);
    ordered.wait_for(cut).await.map_or(Order::CutWithFin, |order| *order)
}

async fn may_flow(ordered: &mut watch::Receiver<Order>) {
    let _ = ordered.wait_for(|order| *order == Order::Flow).await;
}

/// Carries one direction: reads at once, writes when the delay is over.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    setup: Builder,
    ordered: watch::Receiver<Order>,
    delivered: &AtomicU64,
) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Bytes)>(PIECES_MAX);
    let (mut reading, mut writing) = (ordered.clone(), ordered);
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            may_flow(&mut reading).await;
            let size = from.read(&mut piece).await.unwrap_or(0);
            let due = Instant::now() + setup.delay;
            // An empty piece stands for the end, which takes as long as bytes do.
            if queue.send((due, Bytes::copy_from_slice(&piece[..size]))).await.is_err() || size == 0 {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            may_flow(&mut writing).await;
            if piece.is_empty() {
                let _ = to.shutdown().await;
                return;
            }
            for crumb in piece.chunks(setup.write_bytes_max) {
                if to.write_all(crumb).await.is_err() {
                    return;
                }
                delivered.fetch_add(crumb.len() as u64, Ordering::Relaxed);
                if setup.write_bytes_max == 1 {
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    tokio::join!(read, write);
}
