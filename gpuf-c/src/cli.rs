//! The command line: what may be written, and what is done with it.

mod engines;
mod join;
mod run;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};

pub use engines::EnginesArgs;
pub use join::JoinArgs;
pub use run::RunArgs;

use crate::identity;

const ABOUT: &str = "The GPUFabric agent: lets a gateway use the inference engines of this machine.

It looks for Ollama, vLLM, llama.cpp, SGLang and LM Studio on this host, dials out to the gateway, and \
serves what the gateway sends. Nothing listens on this machine for it.";

const EXAMPLES: &str = "Two commands are enough:
  gpuf-c join gpuf://TOKEN@HOST:PORT/FINGERPRINT     (the string comes from the gateway's operator)
  gpuf-c

Without a command, gpuf-c runs; `gpuf-c run --help` shows what can be set.";

/// A parsed command line.
#[derive(Debug, Parser)]
#[command(name = "gpuf-c", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Where keys and certificates are kept [default: $XDG_DATA_HOME/gpuf-c or ~/.local/share/gpuf-c]
    #[arg(long, global = true, value_name = "DIR", env = "GPUF_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gateways that this machine has joined (the default)
    Run(Box<RunArgs>),
    /// Join a gateway, once
    Join(JoinArgs),
    /// Show the engines of this machine, as a gateway would see them
    Engines(EnginesArgs),
}

/// Why a command cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No gateway yet.
    #[error(
        "this machine has not joined a gateway ({} is empty)\n\
         ask the gateway's operator for a join string (there: gpuf-s join-token create), then run\n  \
         gpuf-c join gpuf://TOKEN@HOST:PORT/FINGERPRINT", .0.display()
    )]
    NotJoined(PathBuf),
    /// None of the gateways that this machine has joined is the one that was asked for.
    #[error("this machine has not joined {wanted}; it has joined: {known}")]
    NotThatOne {
        /// Which one was asked for.
        wanted: String,
        /// Those that there are.
        known: String,
    },
    /// Joining a second time would lose the first identity.
    #[error(
        "this machine has already joined {server} as agent {agent}; to serve it, run gpuf-c\n\
         to become another agent there, join with --replace"
    )]
    AlreadyJoined {
        /// Which gateway.
        server: String,
        /// As whom.
        agent: common::AgentId,
    },
    /// There is no home directory.
    #[error("cannot tell where to keep keys: give --data-dir DIR")]
    NoDataDir,
    /// A setting is out of its bounds.
    #[error("{0}")]
    Setting(String),
    /// The identity cannot be had.
    #[error(transparent)]
    Identity(#[from] identity::Error),
}

impl Cli {
    /// Parses `arguments`, the program's name first. Where no command is named, `run` is meant.
    ///
    /// # Errors
    /// When they cannot be parsed; help and version are such errors too.
    pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(with_command(arguments.into_iter().collect()))
    }

    /// The data directory to use.
    ///
    /// # Errors
    /// When none is given and there is no home directory.
    pub fn data_dir(&self) -> Result<PathBuf, Error> {
        self.data_dir.clone().or_else(default_data_dir).ok_or(Error::NoDataDir)
    }
}

/// Puts `run` where a command belongs and none stands.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at).and_then(|argument| argument.to_str()) {
        match argument {
            "--data-dir" => at += 2,
            _ if argument.starts_with("--data-dir=") => at += 1,
            "run" | "join" | "engines" | "help" | "-h" | "--help" | "-V" | "--version" => return arguments,
            _ => break,
        }
    }
    arguments.insert(at.min(arguments.len()), "run".into());
    arguments
}

fn default_data_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        let absolute = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
        absolute.or_else(|| variable("HOME").map(|home| home.join(".local").join("share")))
    };
    base.map(|base| base.join("gpuf-c"))
}

/// Whether `text` is within the bound of a message; the error says which setting is not.
fn bounded(what: &str, text: String) -> Result<String, Error> {
    const MAX: usize = common::message::TEXT_BYTES_MAX;
    if text.len() <= MAX {
        Ok(text)
    } else {
        Err(Error::Setting(format!("{what} is longer than {MAX} bytes")))
    }
}

/// What people call this host.
fn host_name() -> String {
    sysinfo::System::host_name().ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "agent".into())
}

/// Carries out `join`.
///
/// # Errors
/// As [`Error`] says.
pub async fn join(data_dir: &Path, arguments: JoinArgs) -> Result<(), Error> {
    join::join(data_dir, arguments).await
}

/// Carries out `engines`.
///
/// # Errors
/// When a setting is out of its bounds.
pub async fn engines(arguments: EnginesArgs) -> Result<(), Error> {
    engines::show(arguments).await
}

/// What `run` runs with.
///
/// # Errors
/// As [`Error`] says.
pub async fn configure(data_dir: PathBuf, arguments: RunArgs) -> Result<crate::config::AgentConfig, Error> {
    run::configure(data_dir, arguments).await
}

#[cfg(test)]
mod tests;
