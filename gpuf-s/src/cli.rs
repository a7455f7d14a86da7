//! The command line: what may be typed, and where it leads.

mod agents;
mod api_server;
mod cert;
mod check;
mod client;
mod heartbeat_consumer;
mod join_token;
mod keys;
mod migrate;
mod office;
mod serve;
mod stats;
mod table;
mod tenants;

pub use api_server::ApiServer;
pub use heartbeat_consumer::HeartbeatConsumer;

use std::{ffi::OsString, io::IsTerminal as _};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    auth::{admin, ca, desk},
    cache,
    config::{self, Config, Environment, Place, Settings},
    consumer, data_dir, server, store,
};

const ABOUT: &str = "One OpenAI-compatible address in front of GPUs that dial out to it";
const EXAMPLES: &str = "\
Examples:
  gpuf-s quickstart                        everything on this machine, to try it
  gpuf-s --advertise gateway.example       serve, reachable under that name
  gpuf-s join-token create                 a command that brings a GPU machine in
  gpuf-s keys create --name alice          a key for a caller
  gpuf-s --data-dir /srv/gpuf agents list  about the server of that data directory

Other commands than serve and quickstart talk to the running server, or work on its data \
directory when it is down. Logs go to standard error; RUST_LOG sets what is logged.";

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "gpuf-s", version, about = ABOUT, after_help = EXAMPLES, subcommand_value_name = "COMMAND")]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve(Box<Settings>),
    /// Run the server with an agent for this machine's engines, and show how to use it
    Quickstart(Box<Settings>),
    /// Keys of callers
    #[command(subcommand)]
    Keys(keys::Command),
    /// Join strings that bring GPU machines in
    #[command(subcommand)]
    JoinToken(join_token::Command),
    /// Those who share the server, each seeing its own
    #[command(subcommand)]
    Tenants(tenants::Command),
    /// GPU machines
    #[command(subcommand)]
    Agents(agents::Command),
    /// Certificates of the agents' ports
    #[command(subcommand)]
    Cert(cert::Command),
    /// Bring the database to what this version expects; a server does so by itself when it starts
    Migrate {
        /// Show what is missing and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Statistics of agents and devices
    #[command(subcommand)]
    Stats(stats::Command),
    /// The configuration
    #[command(subcommand)]
    Config(check::Command),
}

/// Why a command did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The data directory belongs to somebody else.
    #[error("{0}; run this as the user that runs the server")]
    NotOurs(data_dir::Error),
    /// The data directory.
    #[error(transparent)]
    DataDir(data_dir::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A deed.
    #[error(transparent)]
    Desk(#[from] desk::Error),
    /// A certificate.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// The admin token.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The server.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The consumer.
    #[error(transparent)]
    Consumer(#[from] consumer::Error),
    /// The management API's own process.
    #[error(transparent)]
    ApiServer(#[from] crate::api_server::Error),
    /// A setting that this program cannot do without.
    #[error("{0} is needed")]
    Needed(&'static str),
    /// The quick start.
    #[error("{0:#}")]
    Quickstart(anyhow::Error),
    /// The running server says no.
    #[error("the server says: {0}")]
    Answer(String),
    /// The running server does not answer.
    #[error("the running server (process {pid}) does not answer on {address}: {reason}")]
    NoAnswer {
        /// Its process.
        pid: u32,
        /// Its API port.
        address: std::net::SocketAddr,
        /// Why.
        reason: String,
    },
    /// The join string cannot name a port.
    #[error("the control port is 0, so only a running server knows it: start the server first")]
    NoControlPort,
    /// Nothing to show.
    #[error("there are no certificates in {0} yet; make them with: gpuf-s cert make")]
    NoCertificates(String),
    /// A day's figures are not what its heartbeats come to.
    #[error(
        "{differ} figures of {day} are not what its heartbeats come to; put them right with: \
             gpuf-s stats rebuild --day {day}"
    )]
    FiguresDiffer {
        /// The day.
        day: store::Day,
        /// How many.
        differ: usize,
    },
    /// A day's heartbeats are past their retention.
    #[error(
        "the heartbeats of {0} are gone, and its figures with them if they were counted again; \
             --force does it all the same"
    )]
    HeartbeatsGone(store::Day),
    /// The output, the runtime or the signals.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<data_dir::Error> for Error {
    fn from(error: data_dir::Error) -> Self {
        if error.is_permission() { Self::NotOurs(error) } else { Self::DataDir(error) }
    }
}

impl Cli {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Also help and version, which know how to print themselves.
    pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }

    /// Does what was asked for, and returns when it is done.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn execute(self) -> Result<(), Error> {
        let Self { place, settings, command } = self;
        let command = command.unwrap_or_else(|| Command::Serve(Box::default()));
        start_log(&command);
        let load = |more: Settings| Config::load(&place, more.or(settings), Environment::read());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let text = match command {
            Command::Serve(more) => return runtime.block_on(serve::serve(load(*more)?)),
            Command::Quickstart(more) => return runtime.block_on(serve::quickstart(load(*more)?)),
            Command::Keys(command) => runtime.block_on(keys::execute(command, &load(Settings::default())?)),
            Command::JoinToken(command) => {
                runtime.block_on(join_token::execute(command, &load(Settings::default())?))
            }
            Command::Tenants(command) => {
                runtime.block_on(tenants::execute(command, &load(Settings::default())?))
            }
            Command::Agents(command) => {
                runtime.block_on(agents::execute(command, &load(Settings::default())?))
            }
            Command::Cert(command) => cert::execute(&command, &load(Settings::default())?),
            Command::Migrate { dry_run } => {
                runtime.block_on(migrate::execute(dry_run, &load(Settings::default())?))
            }
            Command::Stats(command) => runtime.block_on(stats::execute(command, &load(Settings::default())?)),
            Command::Config(command) => check::execute(&command, &load(Settings::default())?),
        }?;
        table::print(&text).map_err(Error::from)
    }
}

/// For people on a terminal, for machines elsewhere. Commands that print something themselves log only
/// what goes wrong.
fn start_log(command: &Command) {
    let level = match command {
        Command::Serve(_) => "info",
        // Its reader wants the guide, and no lines in between.
        Command::Quickstart(_) => "warn",
        Command::Keys(_)
        | Command::JoinToken(_)
        | Command::Tenants(_)
        | Command::Agents(_)
        | Command::Cert(_)
        | Command::Migrate { .. }
        | Command::Stats(_)
        | Command::Config(_) => "error",
    };
    start_log_at(level);
}

fn start_log_at(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that was started before, by a test, stays.
    let _ = if std::io::stderr().is_terminal() {
        log.with_target(false).try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
}

#[cfg(test)]
mod tests;
