//! Processes that this program starts, and that end with it whatever happens to it.

use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{net::TcpStream, time::sleep};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
const START_DEADLINE: Duration = Duration::from_secs(20);
const RETRY_EVERY: Duration = Duration::from_millis(20);
const LOG_TAIL_LINES: usize = 12;

/// A running process in a process group of its own; ended on drop.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command with its output in `log`.
    ///
    /// Call it from the main thread: the kernel ends the child when the thread that started it ends.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        end_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of its log once the process has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{} ended ({status}):\n{}", self.name, self.log_tail());
    }

    /// Waits until it accepts connections.
    pub async fn accepts(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(address).await.is_err() {
            self.retry_until(deadline, "does not listen").await?;
        }
        Ok(())
    }

    /// Waits until `ready` gives something.
    pub async fn ready<T>(&mut self, what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(found) = ready().await {
                return Ok(found);
            }
            self.retry_until(deadline, what).await?;
        }
    }

    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    async fn retry_until(&mut self, deadline: Instant, what: &str) -> Result<()> {
        self.check()?;
        let late = Instant::now() >= deadline;
        ensure!(!late, "{}: {what} after {START_DEADLINE:?}:\n{}", self.name, self.log_tail());
        sleep(RETRY_EVERY).await;
        Ok(())
    }

    fn signal_group(&self, signal: i32) {
        // SAFETY: kill takes numbers; the group is this child's own, made at its start.
        unsafe { libc::kill(-self.child.id().cast_signed(), signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal_group(libc::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.signal_group(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and returns what it printed.
pub async fn output_of(command: Command, deadline: Duration) -> Result<String> {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(deadline, output).await;
    let output = output.with_context(|| format!("{shown} took more than {deadline:?}"))??;
    if !output.status.success() {
        std::io::stderr().write_all(&output.stderr)?;
        bail!("{shown} failed: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// SIGTERM and not SIGKILL, so that a parent of workers (nginx) takes them along.
fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call and touches no memory.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_ended_shows_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        let mut process = Process::start("thing", command, folder.path().join("log")).unwrap();
        let error = process.ready("is not there", async || None::<()>).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_process_takes_its_children_along() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; sleep 60 & echo $!; wait"]);
        let mut process = Process::start("stubborn", command, log.clone()).unwrap();
        let said = async || fs::read_to_string(&log).ok().filter(|log| log.ends_with('\n'));
        let grandchild: u32 = process.ready("says nothing", said).await.unwrap().trim().parse().unwrap();
        assert!(is_running(grandchild));
        drop(process);
        let deadline = Instant::now() + START_DEADLINE;
        while is_running(grandchild) {
            assert!(Instant::now() < deadline);
            sleep(RETRY_EVERY).await;
        }
    }

    /// A process that nobody has waited for is over all the same.
    fn is_running(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }
}
