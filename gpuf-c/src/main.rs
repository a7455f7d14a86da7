//! The agent's process: arguments, log, signals, and how it ends.

use std::{io::IsTerminal, process::ExitCode};

use gpuf_c::{
    agent,
    cli::{self, Cli, Command},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::parse_arguments(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version come this way too, and know where to print themselves.
        Err(error) => error.exit(),
    };
    start_log(matches!(cli.command, Command::Run(_)));
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpuf-c: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To standard error: for people on a terminal, for machines elsewhere. Commands that print something
/// themselves only say what goes wrong.
fn start_log(is_service: bool) {
    let level = if is_service { "info" } else { "error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().flatten_event(true).init();
    }
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let data_dir = cli.data_dir();
        match cli.command {
            Command::Engines(arguments) => cli::engines(arguments).await?,
            Command::Join(arguments) => cli::join(&data_dir?, arguments).await?,
            Command::Run(arguments) => {
                let config = cli::configure(data_dir?, *arguments).await?;
                agent::run(config, shutdown_signal()?).await?;
            }
        }
        Ok(())
    })
}

/// Cancelled by the first signal; the second ends the process at once.
fn shutdown_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping when running requests have ended; a second signal stops at once");
        token.cancel();
        signals.next().await;
        std::process::exit(130);
    });
    Ok(shutdown)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
