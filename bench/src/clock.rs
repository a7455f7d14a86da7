//! The clock that the engine and the load generator share across their processes.

/// Nanoseconds of CLOCK_MONOTONIC, which is one clock for the whole machine: the engine stamps each event
/// with it, and the load generator compares the stamp with its own reading.
pub fn monotonic_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC).unwrap_or_default()
}

/// CPU time that a process has used: user and system, all threads, ended threads included.
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let mut clock = 0;
    // SAFETY: `clock` outlives the call, which writes a clock id to it.
    let failed = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if failed == 0 { read_ns(clock) } else { None }
}

fn read_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes a time to it.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if failed != 0 {
        return None;
    }
    Some(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let pid = std::process::id();
        let before = process_cpu_ns(pid).unwrap();
        let until = monotonic_ns() + 20_000_000;
        while monotonic_ns() < until {}
        assert!(process_cpu_ns(pid).unwrap() > before + 1_000_000);
    }

    #[test]
    fn a_process_that_has_ended_has_no_cpu_time() {
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert_eq!(process_cpu_ns(ended.id()), None);
    }
}
