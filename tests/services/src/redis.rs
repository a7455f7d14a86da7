//! Redis that keeps nothing on disk.

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

use crate::service::{Kind, Service};
use crate::supervisor::Supervisor;

const URL_VARIABLE: &str = "GPUF_TEST_REDIS_URL";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

const KIND: Kind = Kind { name: "redis", prepare, is_ready, end: "TERM" };

static SHARED: OnceLock<Redis> = OnceLock::new();

/// A Redis server. A restart empties it.
#[derive(Debug)]
pub struct Redis {
    url: String,
    service: Service,
}

impl Redis {
    /// Starts one for the caller alone.
    pub fn start() -> Self {
        Self::of(Service::start(KIND, &[]))
    }

    /// The one for all tests of this process, or the one that the environment names. Tests keep to keys of
    /// their own in it.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| match env::var(URL_VARIABLE) {
            Ok(url) => Self { url, service: Service::given(KIND) },
            Err(_) => Self::of(Service::shared(KIND, &[])),
        })
    }

    fn of(service: Service) -> Self {
        Self { url: format!("redis://127.0.0.1:{}/", service.port()), service }
    }

    /// Where it is, `redis://…`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Deref for Redis {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

fn prepare(supervisor: &Supervisor, port: u16, _settings: &[&str]) -> Vec<String> {
    let port = port.to_string();
    let folder = supervisor.path("");
    let program = ["redis-server", "--bind", "127.0.0.1", "--port", &port, "--dir", &folder];
    let keeps_nothing = ["--save", "", "--appendonly", "no", "--daemonize", "no"];
    program.into_iter().chain(keeps_nothing).map(ToOwned::to_owned).collect()
}

fn is_ready(port: u16) -> bool {
    ping(port).is_ok_and(|answer| answer == *b"+PONG")
}

fn ping(port: u16) -> std::io::Result<[u8; 5]> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
