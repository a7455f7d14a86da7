//! `cert show`, `cert make`.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Error,
    office::{open_ca, place},
    table,
};
use crate::{
    auth::ca::{self, CertificateView},
    config::Config,
    data_dir::DataDir,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the certificates of the agents' ports
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the authority and the server's certificate where they are missing
    Make {
        /// Make another server certificate even where the present one is good; a running server takes it
        /// at its next start
        #[arg(long)]
        renew: bool,
    },
}

#[derive(Serialize)]
struct Shown {
    fingerprint: String,
    certificates: Vec<CertificateView>,
}

pub(super) fn execute(command: &Command, config: &Config) -> Result<String, Error> {
    let data = DataDir::open(&config.data_dir)?;
    let json = match command {
        Command::Show { json } => {
            if !place(config, &data).exists() {
                let folder = config.state.authority_dir.as_deref().unwrap_or(data.path());
                return Err(Error::NoCertificates(folder.display().to_string()));
            }
            *json
        }
        Command::Make { renew } => {
            if *renew {
                ca::drop_server_certificate(&data)?;
            }
            false
        }
    };
    let ca = open_ca(config, &data)?;
    let certificates = ca.server().chain.iter().filter_map(CertificateView::of).collect();
    let shown = Shown { fingerprint: ca.fingerprint().to_string(), certificates };
    if json { table::json(&shown) } else { Ok(tell(&shown)) }
}

fn tell(shown: &Shown) -> String {
    let mut text = format!("Agents trust {}\n", shown.fingerprint);
    for certificate in &shown.certificates {
        text += &format!(
            "\n{}\n  names    {}\n  expires  {}\n  SHA-256  {}\n",
            certificate.subject,
            if certificate.names.is_empty() { "-".to_owned() } else { certificate.names.join(", ") },
            table::moment(certificate.expires_unix),
            certificate.fingerprint
        );
    }
    text
}
