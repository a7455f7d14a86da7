//! What the kernel knows about processes.

use std::fs;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// The state of a process, such as `S` or `T`; `None` once it is gone, reaped or not.
pub fn state(pid: i32) -> Option<char> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let state = status.lines().find_map(|line| line.strip_prefix("State:"))?.trim().chars().next()?;
    (!"ZX".contains(state)).then_some(state)
}

/// Whether all these stand still.
pub fn stand_still(pids: &[i32]) -> bool {
    !pids.is_empty() && pids.iter().all(|pid| state(*pid) == Some('T'))
}

/// Waits until all these are gone.
pub fn are_gone(pids: &[i32]) {
    eventually("the end of all processes", || pids.iter().all(|pid| state(*pid).is_none()));
}

/// Waits until `holds`.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(POLL_EVERY);
    }
}
