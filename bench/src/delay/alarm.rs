//! One alarm clock for all that waits, exact to some microseconds: an async runtime's timers round to
//! milliseconds, which is too coarse where one millisecond is what is being judged.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
    task::yield_now,
};

/// A virtual machine's timers come about this late; a precise wait is set so much earlier and ends in a spin.
const LATE: Duration = Duration::from_micros(200);

pub struct Alarm {
    file: AsyncFd<OwnedFd>,
    sleepers: Mutex<Sleepers>,
}

#[derive(Default)]
struct Sleepers {
    by_due: BTreeMap<(Instant, u64), Sleeper>,
    added: u64,
}

struct Sleeper {
    precise: bool,
    wake: oneshot::Sender<()>,
}

/// What is to be done until the next sleeper is due.
enum Until {
    /// The timer is set, or nobody sleeps.
    Timer,
    /// It is so near that a timer would come too late.
    Spin,
}

impl Alarm {
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes numbers only.
        let file = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made above and nobody else has it.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        // SAFETY: the file keeps its one descriptor for as long as it lives, and nothing takes it out.
        let file = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE)? };
        Ok(Self { file, sleepers: Mutex::default() })
    }

    /// Wakes the sleepers; nobody wakes without it.
    pub async fn run(&self) -> io::Result<()> {
        loop {
            while matches!(self.wake_due()?, Until::Spin) {
                // What comes in meanwhile is read and stamped.
                yield_now().await;
            }
            let mut ready = self.file.readable().await?;
            // An expiry that is not there yet leaves the file unready.
            let _ = ready.try_io(|file| read_expiry(file.get_ref()));
        }
    }

    pub async fn wait_until(&self, due: Instant, precise: bool) -> io::Result<()> {
        if due <= Instant::now() {
            return Ok(());
        }
        let (wake, woken) = oneshot::channel();
        self.add(due, Sleeper { precise, wake })?;
        woken.await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn add(&self, due: Instant, sleeper: Sleeper) -> io::Result<()> {
        let precise = sleeper.precise;
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.added += 1;
        let key = (due, sleepers.added);
        sleepers.by_due.insert(key, sleeper);
        match sleepers.by_due.first_key_value() {
            Some((first, _)) if *first == key => self.set(due, precise),
            _ => Ok(()),
        }
    }

    fn wake_due(&self) -> io::Result<Until> {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some(first) = sleepers.by_due.first_entry() {
            let due = first.key().0;
            if due <= now {
                // A sleeper that has gone does not need to be woken.
                let _ = first.remove().wake.send(());
            } else if first.get().precise && due - now <= LATE {
                return Ok(Until::Spin);
            } else {
                self.set(due, first.get().precise)?;
                return Ok(Until::Timer);
            }
        }
        Ok(Until::Timer)
    }

    /// Setting the timer also clears an expiry that was not read.
    fn set(&self, due: Instant, precise: bool) -> io::Result<()> {
        let early = if precise { LATE } else { Duration::ZERO };
        let left = due.saturating_duration_since(Instant::now()).saturating_sub(early);
        // SAFETY: all zeros is a valid itimerspec: a timer that is not set.
        let mut spec: libc::itimerspec = unsafe { std::mem::zeroed() };
        spec.it_value.tv_sec = left.as_secs().cast_signed();
        // Zero would switch the timer off.
        spec.it_value.tv_nsec = i64::from(left.subsec_nanos()).max(1);
        let file = self.file.as_raw_fd();
        // SAFETY: `spec` outlives the call, which reads it and writes nothing.
        let failed = unsafe { libc::timerfd_settime(file, 0, &raw const spec, ptr::null_mut()) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn read_expiry(file: &OwnedFd) -> io::Result<()> {
    let mut count = 0_u64;
    // SAFETY: the pointer and length are those of `count`, which outlives the call.
    let read = unsafe { libc::read(file.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    if read < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_sleeper_wakes_in_time_and_none_early() {
        let alarm = Alarm::new().unwrap();
        let begun = Instant::now();
        let sleep = async |after_ms: u64, precise: bool| {
            let due = begun + Duration::from_millis(after_ms);
            alarm.wait_until(due, precise).await.unwrap();
            assert!(Instant::now() >= due);
            assert!(due.elapsed() < Duration::from_millis(50));
        };
        let all = async {
            tokio::join!(sleep(8, true), sleep(3, true), sleep(3, false), sleep(5, false), sleep(0, true));
            sleep(12, false).await;
        };
        tokio::select! {
            () = all => {}
            failed = alarm.run() => panic!("{failed:?}"),
        }
    }
}
