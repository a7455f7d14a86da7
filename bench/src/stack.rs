//! The paths from a caller to the engine, each started and stopped as a whole.

mod haproxy;
mod nginx;
mod ours;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::time::timeout;

pub use self::ours::{Binaries, Server};
use crate::{
    child::Process,
    load::{self, Target},
    meter::Role,
    net::free_addresses,
};

/// Peers know no keys; they get a header of the same kind to carry.
const NO_KEY: &str = "gpuf_00000000000000000000000000000000000000000000";
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// A way from the caller to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Path {
    Direct,
    Nginx,
    Haproxy,
    Ours,
}

impl Path {
    pub const ALL: [Self; 4] = [Self::Direct, Self::Nginx, Self::Haproxy, Self::Ours];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Ours => "ours",
        }
    }

    /// Why this path cannot be measured here, if it cannot.
    pub fn missing(self, binaries: &Binaries) -> Option<String> {
        let missing = match self {
            Self::Direct => None,
            Self::Nginx => executable("nginx").err(),
            Self::Haproxy => executable("haproxy").err(),
            Self::Ours => binaries.check().err(),
        };
        missing.map(|error| error.to_string())
    }
}

/// What all paths share: a folder, a certificate for the GPU host, and the engine.
pub struct Bed {
    // Fields drop in this order: the engine ends before its folder goes.
    pub engine: Process,
    pub engine_address: SocketAddr,
    pub folder: TempDir,
    pub binaries: Binaries,
}

impl Bed {
    pub async fn make(binaries: Binaries) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gpuf-bench-").tempdir()?;
        make_certificate(folder.path())?;
        let [address] = free_addresses()?;
        let mut command = this_program()?;
        command.args(["engine", "--listen", &address.to_string()]);
        let mut engine = Process::start("engine", command, folder.path().join("engine.log"))?;
        engine.accepts(address).await?;
        Ok(Self { engine, engine_address: address, folder, binaries })
    }

    /// A folder of its own for one start of one path.
    fn subfolder(&self, name: &str) -> Result<PathBuf> {
        Ok(tempfile::Builder::new().prefix(name).tempdir_in(self.folder.path())?.keep())
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Certificate and private key in one file, as haproxy wants them.
    fn certificate_with_key(&self) -> PathBuf {
        self.folder.path().join("both.pem")
    }

    fn private_key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

/// One path, running.
pub struct Stack {
    pub path: Path,
    pub target: Target,
    processes: Vec<(Role, Process)>,
}

impl Stack {
    /// Starts everything and sees one request through; `one_way` delays the hop between the hosts.
    pub async fn start(path: Path, bed: &Bed, one_way: Option<Duration>) -> Result<Self> {
        let started = match path {
            Path::Direct => direct(bed, one_way).await,
            Path::Nginx => nginx::start(bed, one_way).await,
            Path::Haproxy => haproxy::start(bed, one_way).await,
            Path::Ours => ours::start(bed, one_way).await,
        };
        let mut stack = started.with_context(|| format!("could not start {}", path.name()))?;
        let probed = stack.probe().await;
        stack.check()?;
        probed.with_context(|| format!("{} does not answer", path.name()))?;
        Ok(stack)
    }

    pub fn pids(&self) -> impl Iterator<Item = (Role, u32)> {
        self.processes.iter().map(|(role, process)| (*role, process.pid()))
    }

    /// Fails once one of its processes has ended.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(|(_, process)| process.check())
    }

    fn new(path: Path, address: SocketAddr, key: String) -> Self {
        let target = Target { address, model: crate::MODEL.to_owned(), key };
        Self { path, target, processes: Vec::new() }
    }

    async fn probe(&self) -> Result<()> {
        timeout(PROBE_DEADLINE, load::probe(&self.target)).await?
    }
}

async fn direct(bed: &Bed, one_way: Option<Duration>) -> Result<Stack> {
    let (address, delay) = delayed(bed, bed.engine_address, one_way).await?;
    let mut stack = Stack::new(Path::Direct, address, NO_KEY.to_owned());
    stack.processes.extend(delay.map(|process| (Role::Delay, process)));
    Ok(stack)
}

/// The address of `to` over a slow path, and the process that makes it slow.
async fn delayed(
    bed: &Bed,
    to: SocketAddr,
    one_way: Option<Duration>,
) -> Result<(SocketAddr, Option<Process>)> {
    let Some(one_way) = one_way else { return Ok((to, None)) };
    let [listen] = free_addresses()?;
    let mut command = this_program()?;
    command.args(["delay", "--listen", &listen.to_string(), "--to", &to.to_string()]);
    command.args(["--one-way-ms", &one_way.as_millis().to_string()]);
    let mut process = Process::start("delay", command, bed.subfolder("delay")?.join("log"))?;
    process.accepts(listen).await?;
    Ok((listen, Some(process)))
}

fn this_program() -> Result<Command> {
    Ok(Command::new(env::current_exe()?))
}

/// P-256, which is what every path presents on the hop between the hosts.
fn make_certificate(folder: &FilePath) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec![GPU_HOST_NAME.to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.join("cert.pem"), &certificate)?;
    fs::write(folder.join("key.pem"), &key)?;
    fs::write(folder.join("both.pem"), certificate + &key)?;
    Ok(())
}

const GPU_HOST_NAME: &str = "gpu-host";

/// Debian's peers live in /usr/sbin, which is not on every user's path.
fn executable(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is not installed"))
}

/// Puts values in the places of a configuration template, which are written `@NAME@`.
fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    ensure!(!text.contains('@'), "an unfilled place in a template:\n{text}");
    Ok(text)
}

fn text(path: &FilePath) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_with_an_unfilled_place_is_refused() {
        assert_eq!(fill("listen @A@;", &[("A", "1")]).unwrap(), "listen 1;");
        assert!(fill("listen @A@ @B@;", &[("A", "1")]).is_err());
    }
}
