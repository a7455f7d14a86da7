//! Runs the server until a signal.

use tokio_util::sync::CancellationToken;

use super::Error;
use crate::config::Config;

pub(super) async fn serve(config: Config) -> Result<(), Error> {
    crate::server::run(config, shutdown_signal()?).await.map_err(Error::from)
}

pub(super) async fn quickstart(config: Config) -> Result<(), Error> {
    crate::quickstart::run(config, shutdown_signal()?).await.map_err(Error::Quickstart)
}

/// Cancelled by the first signal; the second ends the process at once.
pub(super) fn shutdown_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let cancelled = shutdown.clone();
    let mut signals = Signals::listen()?;
    // Lives as long as the process: there is nothing of it to wait for.
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("ending when the running answers have ended; a second signal ends at once");
        cancelled.cancel();
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
        // Without a handler the first signal would have ended the process.
        let _ = tokio::signal::ctrl_c().await;
    }
}
