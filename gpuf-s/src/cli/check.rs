//! `config check`: what the server would run with.

use clap::Subcommand;

use super::Error;
use crate::{
    auth::ca::{CertificateFiles, Identity},
    config::Config,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check flags, environment, file and certificates, and show what results; starts nothing
    Check,
}

pub(super) fn execute(command: &Command, config: &Config) -> Result<String, Error> {
    let Command::Check = command;
    for files in [&config.proxy_certificate, &config.public_certificate].into_iter().flatten() {
        Identity::read(files)?;
    }
    Ok(describe(config))
}

fn describe(config: &Config) -> String {
    let own = |files: &Option<CertificateFiles>, without: &str| {
        files.as_ref().map_or_else(|| without.to_owned(), |files| files.chain.display().to_string())
    };
    let database = config.state.database.to_string();
    let redis = config.state.redis.as_ref().map_or("none, in memory".into(), ToString::to_string);
    let kafka = config.state.kafka.as_ref().map_or("none".into(), |kafka| kafka.servers.clone());
    let rows = [
        ("data directory", config.data_dir.display().to_string()),
        ("database", database),
        ("Redis", redis),
        ("Kafka", kafka),
        ("control port", config.control.to_string()),
        ("proxy port", config.proxy.to_string()),
        ("public port", config.public.to_string()),
        ("API port", config.api.to_string()),
        (
            "advertised as",
            config.advertise.as_ref().map_or("this host's own address".into(), ToString::to_string),
        ),
        (
            "authority",
            config
                .state
                .authority_dir
                .as_ref()
                .map_or("in the data directory".into(), |at| at.display().to_string()),
        ),
        ("agents' certificate", own(&config.proxy_certificate, "of the built-in authority")),
        ("callers' certificate", own(&config.public_certificate, "none, clear text")),
        ("static API key", if config.api_key.is_some() { "set" } else { "not set" }.to_owned()),
        ("threads", config.workers.to_string()),
    ];
    let lines = rows.map(|(name, value)| format!("{name:<22}{value}\n")).concat();
    format!("The configuration is good.\n\n{lines}")
}
