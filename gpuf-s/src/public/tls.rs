//! TLS of the public port, with a certificate that can be replaced while it runs.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::ca::{self, CertificateFiles, Identity};

/// The files are looked at this often.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files.
    #[error(transparent)]
    Files(#[from] ca::Error),
    /// Chain and key together.
    #[error(transparent)]
    Tls(#[from] common::tls::Error),
}

/// The current certificate.
#[derive(Debug, Clone)]
pub struct PublicTls {
    files: CertificateFiles,
    config: Arc<ArcSwap<rustls::ServerConfig>>,
}

impl PublicTls {
    /// From files.
    ///
    /// # Errors
    /// When they are not a certificate chain and its key.
    pub fn open(files: CertificateFiles) -> Result<Self, Error> {
        let config = Arc::new(ArcSwap::from_pointee(load(&files)?));
        Ok(Self { files, config })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Takes in files that changed, until `shutdown`. Bad files change nothing.
    pub async fn watch(self, shutdown: CancellationToken) {
        let mut seen = self.changed_at();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => return,
            }
            let changed_at = self.changed_at();
            if changed_at == seen {
                continue;
            }
            seen = changed_at;
            match load(&self.files) {
                Ok(config) => {
                    self.config.store(Arc::new(config));
                    info!("took in the public port's new certificate");
                }
                Err(error) => warn!(%error, "the public port keeps its certificate"),
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        let at = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        [at(&self.files.chain), at(&self.files.key)]
    }
}

fn load(files: &CertificateFiles) -> Result<rustls::ServerConfig, Error> {
    let identity = Identity::read(files)?;
    Ok(common::tls::server_config(identity.chain, identity.key, &[b"h2", b"http/1.1"])?)
}
