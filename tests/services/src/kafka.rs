//! Apache Kafka as one node that is broker and controller.
//!
//! Jars and a formatted data folder come from the test environment that `scripts/test` makes.

mod probe;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

use crate::port;
use crate::service::{Kind, Service};
use crate::supervisor::Supervisor;

const BOOTSTRAP_VARIABLE: &str = "GPUF_TEST_KAFKA";
const ENVIRONMENT_VARIABLE: &str = "GPUF_TEST_ENV";
const TARGET_VARIABLE: &str = "CARGO_TARGET_DIR";

/// Room for the topics of tests; compiled quickly rather than well, for a life of seconds.
const JAVA_OPTIONS: [&str; 4] =
    ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.showDateTime=true"];

const KIND: Kind = Kind { name: "kafka", prepare, is_ready: probe::is_ready, end: "TERM" };

static SHARED: OnceLock<Kafka> = OnceLock::new();

/// A Kafka broker without topics; it makes none on its own.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    service: Service,
}

impl Kafka {
    /// Starts one for the caller alone.
    pub fn private() -> Self {
        Self::private_with(&[])
    }

    /// Likewise, with broker settings such as `log.retention.bytes=1000`.
    pub fn private_with(settings: &[&str]) -> Self {
        Self::of(Service::start(KIND, settings))
    }

    /// The one for all tests of this process, or the one that the environment names.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| match env::var(BOOTSTRAP_VARIABLE) {
            Ok(bootstrap) => Self { bootstrap, service: Service::given(KIND) },
            Err(_) => Self::of(Service::shared(KIND, &[])),
        })
    }

    fn of(service: Service) -> Self {
        Self { bootstrap: format!("127.0.0.1:{}", service.port()), service }
    }

    /// Where clients begin, `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Deref for Kafka {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

fn prepare(supervisor: &Supervisor, port: u16, settings: &[&str]) -> Vec<String> {
    let files = files();
    let data = supervisor.path("data");
    copy(&files.join("formatted"), Path::new(&data));
    let properties = supervisor.path("server.properties");
    let own = properties_of(port, port::free(), &data);
    fs::write(&properties, format!("{own}{}\n", settings.join("\n"))).expect("a file of properties");
    let mut command = vec!["java".to_owned()];
    command.extend(JAVA_OPTIONS.map(ToOwned::to_owned));
    command.extend(["-cp".to_owned(), format!("{}/*", files.join("jars").display())]);
    command.extend(["kafka.Kafka".to_owned(), properties]);
    command
}

/// One partition of everything internal and no delay for those who join a group. The controller counts a
/// killed broker as alive until its session ends, and lets it come back only then: the usual 9 seconds would
/// be in every test that kills it.
fn properties_of(port: u16, controller_port: u16, data: &str) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"
    )
}

/// The folder with Kafka's jars, and a data folder as Kafka's own tool formats it.
fn files() -> PathBuf {
    let environment = env::var_os(ENVIRONMENT_VARIABLE).map_or_else(default_environment, PathBuf::from);
    let files = environment.join("kafka");
    let is_whole = files.join("jars").is_dir() && files.join("formatted").is_dir();
    assert!(is_whole, "no Kafka in {}: `scripts/test` brings it there", files.display());
    files
}

/// Where the scripts put it, unless told otherwise.
fn default_environment() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = env::var_os(TARGET_VARIABLE).unwrap_or_else(|| "target".into());
    workspace.join(target).join("test-env")
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a data folder");
    for file in fs::read_dir(from).expect("a formatted folder").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("a copied file");
    }
}
