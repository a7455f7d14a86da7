//! A caller's HTTP/1.1 socket with the strict reader and the timers around it.
//!
//! The HTTP library sees whole, checked heads only. What is refused is answered here when the library
//! closes the connection, after whatever answer it was still writing.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use super::strict::{HeadLimits, Reader, Refusal, Step};

/// After a refusal the rest of what the caller sends is read for so long, lest a reset of the
/// connection destroy the answer on its way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long a caller may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    /// Until the first byte of a connection.
    pub first_byte: Duration,
    /// From the first to the last byte of a head.
    pub head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// Without taking a byte of an answer.
    pub stalled: Duration,
}

/// What the guard is to say when it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The strict reader's verdict.
    Refused(Refusal),
    /// The head took too long.
    HeadTimeout,
}

/// What requests of a connection tell its guard.
#[derive(Debug)]
pub struct Signals {
    began: Instant,
    busy: AtomicBool,
    upgraded: AtomicBool,
    /// When the last request ended, milliseconds after `began`.
    idle_at_ms: AtomicU64,
    /// Set while the guard waits for the request to end.
    awaited: AtomicBool,
    guard: AtomicWaker,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            busy: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            idle_at_ms: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            guard: AtomicWaker::new(),
        }
    }
}

impl Signals {
    /// Marks the connection as busy until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// From here on the bytes are no HTTP.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    fn idle_since(&self) -> Instant {
        self.began + Duration::from_millis(self.idle_at_ms.load(Ordering::Relaxed))
    }

    /// The guard looks again when the request has ended.
    fn wait_for_end(&self, context: &Context<'_>) {
        self.guard.register(context.waker());
        self.awaited.store(true, Ordering::Relaxed);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Busy(Arc<Signals>);

impl Drop for Busy {
    fn drop(&mut self) {
        let idle_at_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_at_ms.store(idle_at_ms, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
        // The library does not ask for more by itself once its read was pending.
        if self.0.awaited.swap(false, Ordering::Relaxed) {
            self.0.guard.wake();
        }
    }
}

/// The guarded socket.
pub struct Guard<T> {
    io: T,
    reader: Reader,
    /// Checked bytes that did not fit in where they were read.
    checked: BytesMut,
    /// The caller has said all it will say.
    ended: bool,
    timers: Timers,
    signals: Arc<Signals>,
    render: fn(Farewell) -> Bytes,
    farewell: Option<Farewell>,
    last_words: Option<Bytes>,
    lingered: usize,
    fresh: bool,
    since: Instant,
    read_timer: Timer,
    write_timer: Timer,
}

impl<T> Guard<T> {
    /// Around `io`, of which `begun` has been read already.
    pub fn new(
        io: T,
        mut begun: Vec<u8>,
        limits: HeadLimits,
        timers: Timers,
        signals: Arc<Signals>,
        render: fn(Farewell) -> Bytes,
    ) -> Self {
        let mut guard = Self {
            io,
            reader: Reader::new(limits),
            checked: BytesMut::new(),
            ended: false,
            timers,
            signals,
            render,
            farewell: None,
            last_words: None,
            lingered: 0,
            fresh: begun.is_empty(),
            since: Instant::now(),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
        };
        // What passed in place comes before what had to be gathered.
        let kept = guard.check(&mut begun);
        begun.truncate(kept);
        let gathered = std::mem::replace(&mut guard.checked, BytesMut::from(Bytes::from(begun)));
        guard.checked.unsplit(gathered);
        guard
    }

    /// Checks `bytes`; what may pass stays at its beginning, and the rest goes into `self.checked`
    /// or waits for more. How much stays is returned.
    fn check(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        let mut kept = 0;
        let mut in_place = true;
        while at < bytes.len() && self.farewell.is_none() {
            let in_body = self.reader.is_amid_body();
            match self.reader.read(&bytes[at..]) {
                Ok(Step::Pass(passed)) => {
                    if !in_body {
                        self.signals.busy.store(true, Ordering::Relaxed);
                    }
                    let count = passed.len();
                    if in_place {
                        kept = at + count;
                    } else {
                        self.checked.extend_from_slice(passed);
                    }
                    at += count;
                }
                Ok(Step::Head { head, consumed }) => {
                    self.signals.busy.store(true, Ordering::Relaxed);
                    self.checked.extend_from_slice(&head);
                    in_place = false;
                    at += consumed;
                }
                Ok(Step::More) => break,
                Err(refusal) => {
                    // A bad body is answered by whoever reads it, and that is the only answer.
                    let answered = self.reader.is_amid_body();
                    self.last_words = answered.then(Bytes::new);
                    self.farewell = Some(Farewell::Refused(refusal));
                }
            }
        }
        kept
    }

    /// Completes when what is awaited of the caller has been awaited for too long.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // While an answer is under way nothing is awaited of the caller, not even the rest of a next head.
        if self.signals.is_busy() || self.reader.is_amid_body() || self.signals.is_upgraded() {
            if self.reader.is_amid_head() {
                self.signals.wait_for_end(context);
            }
            // The library may not look again before the connection is idle: this timer does.
            return self.read_timer.poll(Instant::now() + self.timers.keep_alive, context);
        }
        let since = self.since.max(self.signals.idle_since());
        let limit = if self.reader.is_amid_head() {
            self.timers.head
        } else if self.fresh {
            self.timers.first_byte
        } else {
            self.timers.keep_alive
        };
        ready!(self.read_timer.poll(since + limit, context));
        if self.reader.is_amid_head() {
            self.farewell = Some(Farewell::HeadTimeout);
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.checked.is_empty() {
                let count = this.checked.len().min(buf.remaining());
                buf.put_slice(&this.checked.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if this.farewell.is_some() {
                // An end here would break off the answer that is under way; the library reads again
                // behind it. Only a body that is refused is awaited by whoever answers.
                if this.signals.is_busy() && this.last_words.is_none() {
                    this.signals.wait_for_end(context);
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.io).poll_read(context, buf) {
                Poll::Ready(result) => result?,
                // An end between requests is an end; nothing more is read.
                Poll::Pending => return this.poll_deadline(context).map(Ok),
            }
            let count = buf.filled().len() - before;
            this.ended = count == 0;
            if this.ended || this.signals.is_upgraded() {
                return Poll::Ready(Ok(()));
            }
            let began = this.reader.is_between_requests();
            let kept = this.check(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + kept);
            this.fresh = false;
            if began && this.reader.is_amid_head() {
                this.since = Instant::now();
            }
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + AsyncRead + Unpin> Guard<T> {
    /// A write that makes no progress for too long ends the connection, and with it the engine's work.
    fn watch<R>(&mut self, written: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.write_timer.stop();
            return written;
        }
        let since = self.write_timer.since();
        ready!(self.write_timer.poll(since + self.timers.stalled, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_last_words(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = self.farewell else { return Poll::Ready(Ok(())) };
        let render = self.render;
        let words = self.last_words.get_or_insert_with(|| render(farewell));
        while words.has_remaining() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, words))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            words.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = self.write_timer.since();
        let mut bytes = [0; 4096];
        while self.lingered < LINGER_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(context, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.lingered += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.write_timer.poll(since + LINGER, context),
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, buf);
        this.watch(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, bufs);
        this.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(context);
        this.watch(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Nobody waits for the goodbye of a connection that the caller has closed.
        if this.ended && this.farewell.is_none() && !this.signals.is_upgraded() {
            return Poll::Ready(Ok(()));
        }
        if this.lingered == 0 {
            ready!(this.poll_last_words(context))?;
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
        }
        // Only a caller that is cut off in the middle of something could lose its answer.
        if this.farewell.is_some() || !this.reader.is_between_requests() {
            ready!(this.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

/// A timer that costs nothing while what it watches goes on: it is set once and, when it fires too
/// early, set again.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

impl Timer {
    fn since(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }

    const fn stop(&mut self) {
        self.since = None;
    }

    fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
