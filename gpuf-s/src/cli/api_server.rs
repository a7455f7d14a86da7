//! The command line of `api_server`.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Parser;

use super::{Error, serve::shutdown_signal};
use crate::{
    api_server::{self, Config},
    config::{API_PORT, Environment, Host, Settings, State},
};

const ABOUT: &str = "Answers the management API beside gpuf-s, from the database that they share";
const EXAMPLES: &str = "\
Examples:
  api_server --database-url postgres://gpuf:…@db/gpuf --admin-token-file /run/secrets/admin
  api_server --database-url sqlite:///srv/gpuf/gpuf.db --admin-token-file /srv/gpuf/admin.token --api-port 18091

It has the routes of gpuf-s's own API port: /api/v1, /api/user, /api/models, /docs. What only a server can do \
it leaves to the servers, which read of it in the database: a revoked key or agent is put out within seconds. \
Who is connected, and where machines join, it takes from what servers write there; without any, join strings \
need --control-address and --authority-dir. Logs go to standard error; RUST_LOG sets what is logged.";

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "api_server", version, about = ABOUT, after_help = EXAMPLES)]
pub struct ApiServer {
    /// The database of the servers: postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE [env: DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The Redis of the servers, so that they hear at once of revoked keys [env: REDIS_URL]
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// The file with the admin token, at least 32 characters [env: API_ADMIN_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Address to arrive at
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    api_bind: IpAddr,
    /// Port to arrive at
    #[arg(long, value_name = "PORT", default_value_t = API_PORT)]
    api_port: u16,
    /// Name or address under which others reach this process
    #[arg(long, value_name = "HOST", value_parser = host)]
    advertise: Option<Host>,
    /// Further host names that it answers to
    #[arg(long, value_name = "HOST,…", value_delimiter = ',', value_parser = host)]
    api_hosts: Vec<Host>,
    /// Where machines join, instead of at the servers that are up: the control port of one
    #[arg(long, value_name = "HOST:PORT", value_parser = control, requires = "authority_dir")]
    control_address: Option<String>,
    /// The folder of the servers' authority, for the fingerprint in join strings
    #[arg(long, value_name = "DIR", requires = "control_address")]
    authority_dir: Option<PathBuf>,
}

fn host(text: &str) -> Result<Host, String> {
    text.parse().map_err(|()| "give a host name or an address".to_owned())
}

fn control(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let host: Host = host.parse().ok()?;
        Some(host.with_port(port.parse().ok().filter(|port| *port != 0)?))
    });
    parts.ok_or_else(|| "give HOST:PORT".to_owned())
}

impl ApiServer {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Also help and version, which know how to print themselves.
    pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }

    /// Answers until a signal.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn execute(self) -> Result<(), Error> {
        super::start_log_at("info");
        let config = self.config(Environment::read())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { Ok(api_server::run(config, shutdown_signal()?).await?) })
    }

    fn config(self, environment: Environment) -> Result<Config, Error> {
        let admin_token = self.admin_token_file.or_else(|| environment.admin_token_file.clone());
        let flags =
            Settings { database_url: self.database_url, redis_url: self.redis_url, ..Settings::default() };
        // Of Kafka nothing is needed here, whatever the environment has for others.
        let environment = Settings { bootstrap_server: None, kafka_config: None, ..environment.settings() };
        let state = State::check(&flags.or(environment))?;
        Ok(Config {
            database: state.database,
            redis: state.redis,
            api: SocketAddr::new(self.api_bind, self.api_port),
            admin_token: admin_token.ok_or(Error::Needed("--admin-token-file"))?,
            advertise: self.advertise,
            hosts: self.api_hosts,
            join: self.control_address.zip(self.authority_dir),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;

    fn config(arguments: &[&str], environment: Environment) -> Result<Config, String> {
        let words = std::iter::once(&"api_server").chain(arguments).map(OsString::from);
        let cli = ApiServer::parse_arguments(words).map_err(|error| error.to_string())?;
        cli.config(environment).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_come_before_the_environment() {
        let environment = Environment {
            database_url: Some("sqlite:///e.db".into()),
            admin_token_file: Some("e".into()),
            bootstrap_server: Some("not a server".into()),
            ..Environment::default()
        };
        let read = config(&["--admin-token-file", "f", "--api-port", "1"], environment).unwrap();
        assert_eq!(read.database, Database::File("/e.db".into()));
        assert_eq!((read.admin_token, read.api.to_string()), ("f".into(), "127.0.0.1:1".into()));
        assert!(read.join.is_none());
    }

    #[test]
    fn what_is_missing_or_halved_is_named() {
        let missing = config(&["--database-url", "sqlite:///e.db"], Environment::default());
        assert_eq!(missing.unwrap_err(), "--admin-token-file is needed");
        let half = config(&["--control-address", "gw:17000"], Environment::default());
        assert!(half.unwrap_err().contains("--authority-dir"));
        let bad = config(&["--control-address", "gw", "--authority-dir", "a"], Environment::default());
        assert!(bad.unwrap_err().contains("give HOST:PORT"));
        assert!(
            config(&["--database-url", "mysql://x"], Environment::default())
                .unwrap_err()
                .contains("postgres")
        );
    }

    #[test]
    fn a_control_address_is_written_as_join_strings_have_it() {
        assert_eq!(control("GW.example:17000").unwrap(), "gw.example:17000");
        assert_eq!(control("[2001:db8::1]:17000").unwrap(), "[2001:db8::1]:17000");
        for bad in ["gw", "gw:0", "gw:x", ":1", "gw:99999"] {
            assert!(control(bad).is_err(), "{bad}");
        }
    }
}
