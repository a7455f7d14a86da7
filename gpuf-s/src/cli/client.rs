//! Asks the running server over its API port.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::timeout};
use zeroize::Zeroizing;

use super::Error;
use crate::{
    auth::admin,
    data_dir::{Addresses, DataDir},
};

/// A server of this machine answers at once, or hangs.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    token: Zeroizing<String>,
    address: SocketAddr,
    pid: u32,
}

#[derive(serde::Deserialize)]
struct Refusal {
    error: Message,
}

#[derive(serde::Deserialize)]
struct Message {
    message: String,
}

impl Client {
    /// A client of the server at `addresses`; `None` where nobody listens there.
    pub(super) async fn connect(data_dir: &Path, addresses: &Addresses) -> Result<Option<Self>, Error> {
        let address = loopback(addresses.api);
        let Ok(Ok(stream)) = timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await else {
            return Ok(None);
        };
        let token = DataDir::open(data_dir)?.read(admin::FILE)?.unwrap_or_default();
        let token = Zeroizing::new(token.trim().to_owned());
        let no_answer = |error: hyper::Error| no_answer(addresses.pid, address, &error);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
        // Ends with the sender; what goes wrong is told by the answer that does not come.
        tokio::spawn(connection);
        Ok(Some(Self { sender, token, address, pid: addresses.pid }))
    }

    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Error> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Error> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreadable(&error))?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let authorization = Zeroizing::new(format!("Bearer {}", *self.token));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, authorization.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unreadable(&error))?;
        match timeout(ANSWER_DEADLINE, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(no_answer(self.pid, self.address, &"it takes too long")),
        }
    }

    async fn exchange<T: DeserializeOwned>(&mut self, request: Request<Full<Bytes>>) -> Result<T, Error> {
        let answer = self.sender.send_request(request).await.map_err(|error| self.unreadable(&error))?;
        let done = answer.status().is_success();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.unreadable(&error))?.to_bytes();
        if done {
            return serde_json::from_slice(&body).map_err(|error| self.unreadable(&error));
        }
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))?;
        Err(Error::Answer(refusal.error.message))
    }

    fn unreadable(&self, reason: &dyn std::fmt::Display) -> Error {
        no_answer(self.pid, self.address, reason)
    }
}

fn no_answer(pid: u32, address: SocketAddr, reason: &dyn std::fmt::Display) -> Error {
    Error::NoAnswer { pid, address, reason: reason.to_string() }
}

/// A listener on every address is also on loopback.
fn loopback(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
