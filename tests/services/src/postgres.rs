//! PostgreSQL with one superuser who has a password.

use std::io::Write;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, fs};

use crate::service::{Kind, Service};
use crate::supervisor::{Supervisor, is_root, plain};

const URL_VARIABLE: &str = "GPUF_TEST_DATABASE_URL";
/// Where Debian keeps the programs that only servers need, by major version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root, and Debian has this user for it.
const USER: &str = "postgres";

const KIND: Kind = Kind { name: "postgres", prepare, is_ready, end: "INT" };

/// One machine crash would lose these databases, which nobody would miss.
const SHARED_SETTINGS: [&str; 5] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_wal_size=256MB",
    "max_connections=300",
];

static SHARED: OnceLock<Postgres> = OnceLock::new();
static TEMPLATE: OnceLock<Template> = OnceLock::new();

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    service: Service,
    /// Databases to be dropped at our end, where the server goes on without us.
    made: Option<Dropper>,
}

impl Postgres {
    /// Starts one for the caller alone. What it has committed survives a kill, as it does in production.
    pub fn private() -> Self {
        Self::private_with(&[])
    }

    /// Likewise, with settings such as `max_connections=5`.
    pub fn private_with(settings: &[&str]) -> Self {
        Self::of(Service::start(KIND, settings))
    }

    /// The one for all tests of this process, or the one that the environment names.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| match env::var(URL_VARIABLE) {
            Ok(url) => {
                let made = Some(Dropper::new(&url));
                Self { url, service: Service::given(KIND), made }
            }
            Err(_) => Self::of(Service::shared(KIND, &SHARED_SETTINGS)),
        })
    }

    fn of(service: Service) -> Self {
        let password = &Template::get().password;
        let url = format!("postgres://{USER}:{password}@127.0.0.1:{}/{USER}", service.port());
        Self { url, service, made: None }
    }

    /// The database of the administrator, who may make others: `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a fresh empty database, which is dropped at the end of this process at the latest.
    pub async fn database(&self) -> String {
        let name = format!("test_{}_{:012x}", std::process::id(), fastrand::u64(..1 << 48));
        if let Some(made) = &self.made {
            made.note(&name);
        }
        psql(&self.url, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
        with_database(&self.url, &name)
    }
}

impl Deref for Postgres {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// Runs a statement; the rows without decoration, a line each, columns separated by `|`.
pub async fn psql(url: &str, statement: &str) -> String {
    let mut command = plain(program("psql"));
    command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"]);
    command.args(["--command", statement, "--dbname", url]);
    let command = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = command.await.expect("psql starts: scripts/test installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{statement}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The same URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (rest, options) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let server = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{server}/{name}{options}")
}

/// A data directory as `initdb` makes it, for every server of this process.
struct Template {
    supervisor: Supervisor,
    password: String,
}

impl Template {
    fn get() -> &'static Self {
        TEMPLATE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let supervisor = Supervisor::new("postgres-template");
        let password = format!("{:032x}", fastrand::u128(..));
        let (data, password_file) = (supervisor.path("data"), supervisor.path("password"));
        fs::write(&password_file, &password).expect("a file");
        own(&supervisor);
        let mut initdb = as_user(&program("initdb"));
        let passwords = ["--auth=scram-sha-256", &format!("--pwfile={password_file}")];
        initdb.extend(["--username", USER].map(ToOwned::to_owned));
        initdb.extend(passwords.map(ToOwned::to_owned));
        initdb.extend(["--no-sync", "--locale=C", "--encoding=UTF8"].map(ToOwned::to_owned));
        initdb.extend(["--pgdata".to_owned(), data]);
        run(&initdb);
        Self { supervisor, password }
    }
}

fn prepare(supervisor: &Supervisor, port: u16, settings: &[&str]) -> Vec<String> {
    let data = supervisor.path("data");
    own(supervisor);
    let copy = ["cp", "-a", &Template::get().supervisor.path("data"), &data];
    run(&copy.map(ToOwned::to_owned));
    let mut server = as_user(&program("postgres"));
    server.extend(["-D".to_owned(), data, "-p".to_owned(), port.to_string()]);
    let sockets = format!("unix_socket_directories={}", supervisor.path(""));
    for setting in ["listen_addresses=127.0.0.1", &sockets].iter().chain(settings) {
        server.extend(["-c".to_owned(), (*setting).to_owned()]);
    }
    server
}

fn is_ready(port: u16) -> bool {
    let mut command = plain(program("pg_isready"));
    command.args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()]);
    command.status().expect("pg_isready starts").success()
}

/// The path of one of PostgreSQL's programs: the newest of Debian's, else the one in the path.
fn program(name: &str) -> String {
    let versions = fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let paths =
        versions.map(|version| (version, PathBuf::from(format!("{DEBIAN_FOLDER}/{version}/bin/{name}"))));
    let newest = paths.filter(|(_, path)| path.exists()).max();
    newest.map_or_else(|| name.to_owned(), |(_, path)| path.to_string_lossy().into_owned())
}

/// The beginning of a command that runs a program as somebody whom PostgreSQL accepts.
fn as_user(program: &str) -> Vec<String> {
    let mut command = Vec::new();
    if is_root() {
        command.extend(["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"].map(ToOwned::to_owned));
    }
    command.push(program.to_owned());
    command
}

/// Gives a supervisor's folder to the user who runs PostgreSQL.
fn own(supervisor: &Supervisor) {
    if is_root() {
        let chown = ["chown", "--recursive", &format!("{USER}:"), &supervisor.path("")];
        run(&chown.map(ToOwned::to_owned));
    }
}

fn run(command: &[String]) {
    let output = plain(&command[0]).args(&command[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}: scripts/test installs it", command[0]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed: {said}", command.join(" "));
}

/// A shell that drops the databases that we made, once we are gone.
#[derive(Debug)]
struct Dropper {
    shell: Mutex<Child>,
}

impl Dropper {
    const SCRIPT: &str = r#"
        while read -r name; do set -- "$@" "$name"; done
        for name in "$@"; do
          "$psql" --no-psqlrc --quiet --dbname "$url" --command "DROP DATABASE IF EXISTS $name WITH (FORCE)"
        done"#;

    fn new(url: &str) -> Self {
        let mut shell = plain("/bin/sh");
        shell.args(["-c", Self::SCRIPT, "dropper"]).env("url", url).env("psql", program("psql"));
        // As a supervisor's, it outlives what ends our group.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { shell: Mutex::new(shell.spawn().expect("a shell")) }
    }

    fn note(&self, name: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let names = shell.stdin.as_mut().expect("a pipe");
        writeln!(names, "{name}").expect("the shell listens");
    }
}
