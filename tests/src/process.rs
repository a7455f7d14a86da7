//! A program under test: its log in a file, its end with the test's.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::wait::in_time;

const LOG_LINES_SHOWN: usize = 200;
/// A killed process is gone in moments; past this the kernel is in trouble, not the test.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);

/// A child process. Dropped, it is killed and reaped; on a panicking thread its log is shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: i32,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, both outputs going to the file `log`.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        die_with_this_thread(&mut command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a started process has an id");
        Self { name: name.to_owned(), child, pid, log }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal, for example `libc::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes no pointers, and the process is our child and not yet reaped, so the id is its own.
        let sent = unsafe { libc::kill(self.pid, signal) };
        assert_eq!(sent, 0, "{} takes no signal", self.name);
    }

    /// Kills it at once and reaps it.
    pub async fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.exit().await;
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> ExitStatus {
        in_time(&format!("the end of {}", self.name), self.child.wait())
            .await
            .expect("a child can be waited for")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Bytes of memory in use.
    pub fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process that lives");
        let kilobytes = line.trim().trim_end_matches("kB").trim();
        kilobytes.parse::<u64>().expect("a number of kB") * 1024
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// The end of the log, for a message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let gone_by = Instant::now() + REAP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < gone_by {
            std::thread::sleep(Duration::from_millis(2));
        }
        if std::thread::panicking() {
            eprintln!("---- log of {} ({}) ----\n{}\n----", self.name, self.pid, self.log_tail());
        }
    }
}

/// Nothing may outlive a test run that is itself killed.
fn die_with_this_thread(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: the closure runs between fork and exec and makes one system call that takes no pointers.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Runs a command to its end and gives back what it printed.
pub async fn output_of(name: &str, mut command: Command) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = in_time(name, command.output()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed: {}\n{printed}\n{said}", output.status);
    printed
}
