//! A service that can be stopped, killed and started again on its port with its data.

use std::thread;
use std::time::{Duration, Instant};

use crate::port;
use crate::supervisor::Supervisor;

/// How long a start or an orderly end may take on cores that others use too.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Somebody may take a free port before the service does, though hardly twice.
const STARTS_MAX: usize = 5;
/// How every service says that it came too late.
const PORT_IS_TAKEN: &str = "ddress already in use";

/// What a kind of service is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name in messages.
    pub name: &'static str,
    /// Makes its files in the supervisor's folder; its program and arguments.
    pub prepare: fn(&Supervisor, port: u16, settings: &[&str]) -> Vec<String>,
    /// Whether the service on this port answers.
    pub is_ready: fn(port: u16) -> bool,
    /// The signal on which it ends in order, closing what callers have open.
    pub end: &'static str,
}

/// A running service. Dropped, it is killed and its files are removed; on a panicking thread its log is shown.
#[derive(Debug)]
pub struct Service {
    kind: Kind,
    port: u16,
    /// None where the service was given to us.
    supervisor: Option<Supervisor>,
    is_shared: bool,
}

impl Service {
    /// Starts a service with these settings and waits until it answers.
    pub(crate) fn start(kind: Kind, settings: &[&str]) -> Self {
        for _ in 0..STARTS_MAX {
            let port = port::free();
            let supervisor = Supervisor::new(kind.name);
            supervisor.program(&(kind.prepare)(&supervisor, port, settings));
            supervisor.start();
            let service = Self { kind, port, supervisor: Some(supervisor), is_shared: false };
            if service.becomes_ready() {
                return service;
            }
            let log = service.supervisor().log_tail();
            assert!(log.contains(PORT_IS_TAKEN), "{} ended at its start\n{log}", kind.name);
        }
        panic!("{} finds no free port", kind.name);
    }

    /// A service for all tests, who therefore leave it alone.
    pub(crate) fn shared(kind: Kind, settings: &[&str]) -> Self {
        Self { is_shared: true, ..Self::start(kind, settings) }
    }

    /// A service that runs elsewhere.
    pub(crate) fn given(kind: Kind) -> Self {
        Self { kind, port: 0, supervisor: None, is_shared: true }
    }

    /// Its port on 127.0.0.1; 0 for a service that was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops all its processes, as SIGSTOP does: connections stay open and nobody answers.
    pub fn stop(&self) {
        self.own().stop();
    }

    /// Lets a stopped service go on.
    pub fn go_on(&self) {
        self.own().go_on();
    }

    /// Kills all its processes at once and waits until they are gone.
    pub fn kill(&self) {
        self.own().kill();
    }

    /// Ends it in order, closing what callers have open.
    pub fn end(&self) {
        let supervisor = self.own();
        supervisor.signal(self.kind.end);
        let ended = in_time(|| (!supervisor.is_alive()).then_some(()));
        assert!(ended.is_some(), "{} does not end\n{}", self.kind.name, supervisor.log_tail());
        // It may have left processes behind that had not heard.
        supervisor.kill();
    }

    /// Starts it on the same port with the same data and waits until it answers; ends it in order first
    /// where it runs.
    pub fn restart(&self) {
        let supervisor = self.own();
        if supervisor.is_alive() {
            self.end();
        }
        supervisor.start();
        assert!(self.becomes_ready(), "{} ended at its start\n{}", self.kind.name, supervisor.log_tail());
    }

    /// The ids of all its processes; none while it is down.
    pub fn processes(&self) -> Vec<i32> {
        self.supervisor().family()
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        self.supervisor().log()
    }

    fn supervisor(&self) -> &Supervisor {
        self.supervisor.as_ref().unwrap_or_else(|| panic!("this {} is not ours", self.kind.name))
    }

    /// The supervisor of a service that belongs to one test.
    fn own(&self) -> &Supervisor {
        assert!(!self.is_shared, "other tests use this {}: take a private one", self.kind.name);
        self.supervisor()
    }

    /// Waits until it answers; false where it ends instead.
    fn becomes_ready(&self) -> bool {
        let supervisor = self.supervisor();
        let ready = in_time(|| {
            if (self.kind.is_ready)(self.port) {
                return Some(true);
            }
            (!supervisor.is_alive()).then_some(false)
        });
        let log = || format!("{} does not get ready\n{}", self.kind.name, supervisor.log_tail());
        ready.unwrap_or_else(|| panic!("{}", log()))
    }
}

/// What `look` finds in the end, or nothing within our patience. Not on a runtime's time, which tests stop.
fn in_time<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > end {
            return found;
        }
        thread::sleep(POLL_EVERY);
    }
}
