//! A small HTTP/1.1 client for looking at one engine: one kept-alive connection, short deadlines,
//! bounded bodies.

use std::{
    borrow::Cow,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};

use super::{EngineUrl, given::Host};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A list of 2,048 models of 400 bytes each fits.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Metrics and API descriptions of a large server.
const LONG_BODY_BYTES_MAX: usize = 4 << 20;
/// hyper's default of 400 KiB would be most of an idle agent.
const READ_BUFFER_BYTES_MAX: usize = 32 * 1024;
const USER_AGENT: &str = concat!("gpuf-c/", env!("CARGO_PKG_VERSION"));

/// Why an engine could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens there.
    #[error("nothing listens there")]
    Refused,
    /// No way to it.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or what came was not HTTP.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// A body without end.
    #[error("the answer is too long")]
    TooLong,
    /// It wants a key.
    #[error("it wants an API key; start it without one, since only this host reaches it")]
    Locked,
    /// An answer that does not help.
    #[error("it answered {status} to {path}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What was asked for.
        path: &'static str,
    },
    /// A body that is not what this engine should send.
    #[error("its answer to {path} is not understood: {error}")]
    Json {
        /// What was asked for.
        path: &'static str,
        /// Where it went wrong.
        error: serde_json::Error,
    },
    /// It talks, but it is none of those that we know.
    #[error("it is not an inference engine that we know")]
    Unknown,
}

impl Error {
    /// Whether the peer is certainly gone: no second try is needed to believe it.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused)
    }
}

/// Asks one engine.
pub struct Client {
    url: EngineUrl,
    host: HeaderValue,
    connection: Option<Link>,
    connects: u64,
}

struct Link {
    sender: SendRequest<Empty<Bytes>>,
    /// Polled while a request runs and never between: no task of its own, no wake-ups while idle.
    driver: Option<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
    address: SocketAddr,
}

/// A whole answer.
pub struct Answer {
    path: &'static str,
    /// Its status.
    pub status: StatusCode,
    /// The `Server` header.
    pub server: Option<HeaderValue>,
    body: Bytes,
}

impl Answer {
    /// The body as JSON, if the status is a good one.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let good = self.good()?;
        serde_json::from_slice(&good.body).map_err(|error| Error::Json { path: good.path, error })
    }

    /// The body as text, if the status is a good one.
    pub fn text(self) -> Result<String, Error> {
        Ok(self.good()?.any_text().into_owned())
    }

    /// The body as text, whatever the status; what is not UTF-8 is replaced.
    pub fn any_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Whether the status is a good one.
    pub fn good(self) -> Result<Self, Error> {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Locked),
            status if status.is_success() => Ok(self),
            status => Err(Error::Status { status, path: self.path }),
        }
    }
}

impl Client {
    /// For the engine at `url`; connects when first asked.
    pub fn new(url: EngineUrl) -> Self {
        // The text of a checked URL is a valid header value; an empty one would only be refused.
        let host = HeaderValue::from_str(&url.to_string()).unwrap_or(HeaderValue::from_static(""));
        Self { url, host, connection: None, connects: 0 }
    }

    /// The `Host` that it sends.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Where the last answer came from.
    pub fn address(&self) -> Option<SocketAddr> {
        self.connection.as_ref().map(|link| link.address)
    }

    /// How often it connected: as long as this stays, the engine was not restarted.
    pub const fn connects(&self) -> u64 {
        self.connects
    }

    /// Asks for `path`.
    pub async fn get(&mut self, path: &'static str) -> Result<Answer, Error> {
        self.ask(Method::GET, path, BODY_BYTES_MAX).await
    }

    /// Asks for something long.
    pub async fn get_long(&mut self, path: &'static str) -> Result<Answer, Error> {
        self.ask(Method::GET, path, LONG_BODY_BYTES_MAX).await
    }

    /// Sends nothing to `path`: whoever serves it complains, whoever does not says that it is not there.
    pub async fn post_nothing(&mut self, path: &'static str) -> Result<Answer, Error> {
        self.ask(Method::POST, path, BODY_BYTES_MAX).await
    }

    /// One question; asked again on a fresh connection if a kept one had died of age.
    async fn ask(&mut self, method: Method, path: &'static str, bytes_max: usize) -> Result<Answer, Error> {
        if let Some(link) = self.connection.take() {
            match self.exchange(link, &method, path, bytes_max).await {
                Err(Error::Http(_)) => {}
                answered => return answered,
            }
        }
        let link = self.connect().await?;
        self.exchange(link, &method, path, bytes_max).await
    }

    async fn exchange(
        &mut self,
        mut link: Link,
        method: &Method,
        path: &'static str,
        bytes_max: usize,
    ) -> Result<Answer, Error> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(header::HOST, self.host.clone());
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let answer = timeout(ANSWER_TIMEOUT, link.answer(request, path, bytes_max));
        let answer = answer.await.map_err(|_| Error::Timeout)??;
        self.connection = Some(link);
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<Link, Error> {
        let tcp = timeout(CONNECT_TIMEOUT, dial(&self.url)).await.map_err(|_| Error::Timeout)??;
        self.connects += 1;
        let _ = tcp.set_nodelay(true);
        let address = tcp.peer_addr().map_err(Error::Connect)?;
        let (sender, driver) =
            http1::Builder::new().max_buf_size(READ_BUFFER_BYTES_MAX).handshake(TokioIo::new(tcp)).await?;
        Ok(Link { sender, driver: Some(Box::new(driver)), address })
    }
}

impl Link {
    async fn answer(
        &mut self,
        request: Request<Empty<Bytes>>,
        path: &'static str,
        bytes_max: usize,
    ) -> Result<Answer, Error> {
        let Self { sender, driver, .. } = self;
        let answering = async {
            let response = sender.send_request(request).await?;
            collect(response, path, bytes_max).await
        };
        tokio::pin!(answering);
        while let Some(connection) = driver {
            tokio::select! {
                biased;
                answer = &mut answering => return answer,
                // A connection may end before its last answer has been taken out of it, and only when it
                // is dropped a request that it will not carry hears of that.
                _ = connection => *driver = None,
            }
        }
        answering.await
    }
}

async fn collect(
    response: Response<Incoming>,
    path: &'static str,
    bytes_max: usize,
) -> Result<Answer, Error> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        match error.downcast::<hyper::Error>() {
            Ok(error) => Error::Http(*error),
            Err(error) if error.is::<LengthLimitError>() => Error::TooLong,
            Err(error) => Error::Connect(io::Error::other(error)),
        }
    })?;
    let server = head.headers.get(header::SERVER).cloned();
    Ok(Answer { path, status: head.status, server, body: body.to_bytes() })
}

async fn dial(url: &EngineUrl) -> Result<TcpStream, Error> {
    let port = url.port();
    let connected = match url.host() {
        Host::Loopback => {
            const HOSTS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses = HOSTS.map(|host| SocketAddr::new(host, port));
            // An engine that listens on IPv4 only is the rule: its refusal is the one that counts.
            match TcpStream::connect(addresses[0]).await {
                Err(refused) => TcpStream::connect(addresses[1]).await.map_err(|_| refused),
                connected => connected,
            }
        }
        Host::Ip(ip) => TcpStream::connect((*ip, port)).await,
        Host::Name(name) => TcpStream::connect((name.as_str(), port)).await,
    };
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Refused,
        _ => Error::Connect(error),
    })
}

#[cfg(test)]
mod tests;
