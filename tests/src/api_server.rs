//! A running `api_server`.

use std::fs;
use std::net::SocketAddr;
use std::process::ExitStatus;

use serde_json::Value;
use tempfile::TempDir;

use crate::connection::{Answer, Connection};
use crate::gateway::bare_command;
use crate::process::Process;
use crate::request::Request;
use crate::wait::eventually;

/// A running management API. Dropped, it is killed.
#[derive(Debug)]
pub struct ApiServer {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// The admin token.
    pub admin_token: String,
    _folder: TempDir,
}

impl ApiServer {
    /// Starts one on this database, with further arguments, and waits until it answers.
    pub async fn start(database_url: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let admin_token = "an admin token of this test alone, and long enough".to_owned();
        let token_file = folder.path().join("admin.token");
        fs::write(&token_file, &admin_token).expect("a token file");
        let mut command = bare_command("api_server");
        command.args(["--database-url", database_url, "--api-port", "0"]);
        command.env("API_ADMIN_TOKEN_FILE", token_file).args(arguments);
        let mut process = Process::start("api_server", command, folder.path().join("api_server.log"));
        let address = eventually("the port of api_server", async || {
            if let Some(status) = process.ended() {
                panic!("api_server ended at its start: {status}\n{}", process.log_tail());
            }
            announced(&process.log())
        })
        .await;
        Self { process, address, admin_token, _folder: folder }
    }

    /// A request with the admin token.
    pub async fn manage(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.manage_as(&self.admin_token, method, path, body).await
    }

    /// A request with this token.
    pub async fn manage_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::new(method, path).key(token).header("host", &self.address.to_string());
        if let Some(body) = body {
            request = request.json(body);
        }
        Connection::open(self.address).await.ask(&request).await
    }

    /// Asks it to end; how it did.
    pub async fn end(mut self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.exit().await
    }
}

/// Where it says that it serves.
fn announced(log: &str) -> Option<SocketAddr> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let serving = lines.filter(|line| line["message"] == "serving");
    serving.filter_map(|line| line["api"].as_str()?.parse().ok()).next()
}
