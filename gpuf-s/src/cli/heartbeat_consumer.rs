//! The command line of `heartbeat_consumer`.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::Parser;

use super::{Error, serve::shutdown_signal};
use crate::{
    config::{Environment, Settings, State},
    consumer::{self, Config},
    telemetry::ingest,
};

const ABOUT: &str = "Stores the heartbeats and usage records that gpuf-s sends through Kafka";
const EXAMPLES: &str = "\
Examples:
  heartbeat_consumer --database-url postgres://gpuf:…@db/gpuf --bootstrap-server kafka:9092
  heartbeat_consumer --batch-size 5000 --batch-timeout 2     larger transactions, fewer of them

Start as many as you like: they share the partitions. A consumer that is killed loses nothing and stores \
nothing twice. Logs go to standard error; RUST_LOG sets what is logged.";

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "heartbeat_consumer", version, about = ABOUT, after_help = EXAMPLES)]
pub struct HeartbeatConsumer {
    /// Where to store: postgres://USER:PASSWORD@HOST/DATABASE [env: DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The Kafka to read from [env: BOOTSTRAP_SERVER]
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_server: Option<String>,
    /// Records in one transaction
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,
    /// Seconds that the first record of a batch waits for others
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    batch_timeout: f64,
    /// Further client settings for Kafka, as librdkafka names them [env: KAFKA_CONFIG]
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',')]
    kafka_config: Option<Vec<String>>,
    /// What the names of the topics begin with
    #[arg(long, value_name = "TEXT")]
    topic_prefix: Option<String>,
    /// Partitions of a topic that does not exist yet [default: 8]
    #[arg(long, value_name = "N")]
    topic_partitions: Option<u16>,
    /// Days for which single heartbeats are kept [default: 30]
    #[arg(long, value_name = "DAYS")]
    heartbeat_days: Option<u16>,
    /// Serve /metrics and /health at this address [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_bind: Option<SocketAddr>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=60.0).contains(seconds));
    seconds.ok_or_else(|| "give seconds between 0.01 and 60".to_owned())
}

impl HeartbeatConsumer {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Also help and version, which know how to print themselves.
    pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }

    /// Stores until a signal.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn execute(self) -> Result<(), Error> {
        super::start_log_at("info");
        let config = self.config(Environment::read())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { Ok(consumer::run(config, shutdown_signal()?).await?) })
    }

    fn config(self, environment: Environment) -> Result<Config, Error> {
        let flags = Settings {
            database_url: self.database_url,
            bootstrap_server: self.bootstrap_server,
            kafka_config: self.kafka_config,
            topic_prefix: self.topic_prefix,
            topic_partitions: self.topic_partitions,
            heartbeat_days: self.heartbeat_days,
            ..Settings::default()
        };
        let state = State::check(&flags.or(environment.settings()))?;
        Ok(Config {
            database: state.database,
            kafka: state.kafka.ok_or(Error::Needed("--bootstrap-server"))?,
            ingest: ingest::Settings {
                batch_records_max: self.batch_size as usize,
                batch_wait: Duration::from_secs_f64(self.batch_timeout),
            },
            heartbeat_days: state.heartbeat_days,
            metrics: self.metrics_bind,
        })
    }
}
