//! What the environment says, read once at the start.

use std::{env, path::PathBuf};

use super::Settings;

/// The variables that the server knows; an empty one counts as unset.
#[derive(Clone, Default)]
pub struct Environment {
    /// `DATABASE_URL`.
    pub database_url: Option<String>,
    /// `REDIS_URL`.
    pub redis_url: Option<String>,
    /// `BOOTSTRAP_SERVER`.
    pub bootstrap_server: Option<String>,
    /// `KAFKA_CONFIG`: the values of `--kafka-config`, which may be secrets.
    pub kafka_config: Option<String>,
    /// `API_KEY`.
    pub api_key: Option<String>,
    /// `API_ADMIN_TOKEN_FILE`, of `api_server`.
    pub admin_token_file: Option<PathBuf>,
    /// `GPUF_DATA_DIR`, or `STATE_DIRECTORY` as systemd sets it.
    pub data_dir: Option<PathBuf>,
    /// `GPUF_CONFIG`.
    pub config: Option<PathBuf>,
    /// `XDG_DATA_HOME`, or `.local/share` under `HOME`.
    pub data_home: Option<PathBuf>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment(…)")
    }
}

impl Environment {
    /// Reads the process's environment.
    #[must_use]
    pub fn read() -> Self {
        Self {
            database_url: text("DATABASE_URL"),
            redis_url: text("REDIS_URL"),
            bootstrap_server: text("BOOTSTRAP_SERVER"),
            kafka_config: text("KAFKA_CONFIG"),
            api_key: text("API_KEY"),
            admin_token_file: path("API_ADMIN_TOKEN_FILE"),
            data_dir: path("GPUF_DATA_DIR").or_else(|| path("STATE_DIRECTORY")),
            config: path("GPUF_CONFIG"),
            data_home: path("XDG_DATA_HOME").or_else(|| path("HOME").map(|home| home.join(".local/share"))),
        }
    }

    pub(super) fn default_data_dir(&self) -> Option<PathBuf> {
        self.data_home.as_ref().map(|home| home.join("gpufabric").join("server"))
    }

    /// As a layer of settings.
    #[must_use]
    pub fn settings(self) -> Settings {
        Settings {
            database_url: self.database_url,
            redis_url: self.redis_url,
            bootstrap_server: self.bootstrap_server,
            kafka_config: self.kafka_config.map(|list| list.split(',').map(str::to_owned).collect()),
            api_key: self.api_key,
            ..Settings::default()
        }
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
