//! A running `heartbeat_consumer`.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;

use tempfile::TempDir;

use crate::connection::Connection;
use crate::gateway::bare_command;
use crate::process::Process;
use crate::request::Request;
use crate::wait::eventually;

/// How a consumer is set up. It can be started again and again; its logs go on in one file.
#[derive(Clone, Debug)]
pub struct Builder {
    arguments: Vec<String>,
    folder: Arc<TempDir>,
}

impl Builder {
    /// Stores this many records in one transaction.
    pub fn batch_size(self, records: u32) -> Self {
        self.arg("--batch-size").arg(records.to_string())
    }

    /// Lets the first record of a batch wait this long for others.
    pub fn batch_timeout(self, seconds: f64) -> Self {
        self.arg("--batch-timeout").arg(seconds.to_string())
    }

    /// Adds a command-line argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until it shows its figures.
    pub async fn start(&self) -> Consumer {
        let figures = SocketAddr::from(([127, 0, 0, 1], test_services::free_port()));
        let mut command = bare_command("heartbeat_consumer");
        command.args(&self.arguments).arg("--metrics-bind").arg(figures.to_string());
        let log = self.folder.path().join("heartbeat_consumer.log");
        let mut process = Process::start("heartbeat_consumer", command, log);
        eventually("the figures of heartbeat_consumer", async || {
            if let Some(status) = process.ended() {
                panic!("heartbeat_consumer ended at its start: {status}\n{}", process.log_tail());
            }
            tokio::net::TcpStream::connect(figures).await.ok()
        })
        .await;
        Consumer { process, figures, _folder: Arc::clone(&self.folder) }
    }
}

/// A running consumer. Dropped, it is killed.
#[derive(Debug)]
pub struct Consumer {
    /// The process.
    pub process: Process,
    figures: SocketAddr,
    _folder: Arc<TempDir>,
}

impl Consumer {
    /// A consumer to be set up, from this Kafka into this database.
    pub fn builder(database_url: &str, bootstrap: &str) -> Builder {
        let arguments = ["--database-url", database_url, "--bootstrap-server", bootstrap];
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Builder { arguments: arguments.map(ToOwned::to_owned).to_vec(), folder }
    }

    /// Its metrics, as it shows them.
    pub async fn metrics(&self) -> String {
        let request = Request::new("GET", "/metrics").header("host", &self.figures.to_string());
        Connection::open(self.figures).await.ask(&request).await.text()
    }

    /// Kills it at once.
    pub async fn kill(mut self) {
        self.process.kill().await;
    }

    /// Asks it to finish the batch at hand and end; how it did.
    pub async fn end(mut self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.exit().await
    }
}
