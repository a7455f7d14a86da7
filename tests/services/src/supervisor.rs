//! A shell that keeps a service: it starts and signals it, and ends it when we end.
//!
//! It learns of our end from a pipe that only we hold. The death signal of Linux would come with the end of
//! the thread that started the service, which in a test process is the end of one test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

const SCRIPT: &str = include_str!("supervise.sh");
const LOG_LINES_SHOWN: usize = 100;

/// A folder, and the program that has its files there. Dropped, both are gone.
#[derive(Debug)]
pub struct Supervisor {
    name: &'static str,
    folder: PathBuf,
    shell: Mutex<Shell>,
}

#[derive(Debug)]
struct Shell {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// A supervisor with an empty folder and nothing to supervise yet.
    pub fn new(name: &'static str) -> Self {
        let prefix = format!("gpuf-{name}-");
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(open_folder()).expect("a folder");
        let folder = folder.keep();
        let log = fs::File::create(folder.join("log")).expect("a log file");
        let mut shell = plain("/bin/sh");
        shell.args(["-c", SCRIPT, "supervise"]).arg(&folder);
        // In a group of its own it outlives what a terminal or a time limit does to ours, and cleans up.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = shell.spawn().expect("a shell");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { name, folder, shell: Mutex::new(Shell { process, orders, answers }) }
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("temporary folders have names of text").to_owned()
    }

    /// Tells what to run: a program and its arguments, each without line ends.
    pub fn program(&self, program: &[String]) {
        for argument in program {
            self.order(&format!("with {argument}"));
        }
    }

    /// Starts the program.
    pub fn start(&self) {
        self.order("start");
    }

    /// Whether the program runs, be it stopped or not.
    pub fn is_alive(&self) -> bool {
        self.ask("is_alive").is_some()
    }

    /// The process ids of the program and of all that it started.
    pub fn family(&self) -> Vec<i32> {
        let family = self.ask("family").unwrap_or_default();
        family.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
    }

    /// Sends a signal to the program alone, for example `TERM`.
    pub fn signal(&self, signal: &str) {
        self.order(&format!("signal {signal}"));
    }

    /// Stops the program and all that it started, as SIGSTOP does.
    pub fn stop(&self) {
        self.order("stop");
    }

    /// Lets them go on.
    pub fn go_on(&self) {
        self.order("go_on");
    }

    /// Kills them all and waits until they are gone.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// All that the program wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// The end of the log, under a heading.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        format!("---- log of {} ({}) ----\n{tail}\n----", self.name, self.folder.display())
    }

    fn order(&self, order: &str) {
        assert!(self.ask(order).is_some(), "{}: cannot {order}\n{}", self.name, self.log_tail());
    }

    /// What the shell answers, unless it says no.
    fn ask(&self, order: &str) -> Option<String> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = shell.orders.as_mut().expect("orders are taken until the drop");
        writeln!(orders, "{order}").expect("the shell listens");
        let mut answer = String::new();
        shell.answers.read_line(&mut answer).expect("the shell answers");
        answer.trim_end().strip_prefix("yes").map(ToOwned::to_owned)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        shell.orders.take();
        let _ = shell.process.wait();
    }
}

/// A command that takes no settings of PostgreSQL from the tester's environment and speaks English.
pub fn plain(program: impl Into<std::ffi::OsString>) -> Command {
    let mut command = Command::new(program.into());
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    command
}

/// Whether we are root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A folder for temporary folders that every user may search: not all of our services run as we do.
fn open_folder() -> PathBuf {
    if is_root() { "/tmp".into() } else { env::temp_dir() }
}
