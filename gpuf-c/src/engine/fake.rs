//! Engines for tests: fixed answers by path, and what was asked.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

use super::EngineUrl;

/// A listener that knows some paths. It ends when dropped.
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, (u16, String)>,
    asked: Mutex<Vec<String>>,
    /// What comes for paths that it does not know.
    otherwise: (u16, String),
    keeps_alive: bool,
    server: Option<&'static str>,
}

/// How a [`Fake`] is set up.
pub struct Setup(State);

impl Setup {
    /// Answers 404 to everything.
    pub fn new() -> Self {
        let otherwise = (404, r#"{"detail":"Not Found"}"#.to_owned());
        Self(State { otherwise, keeps_alive: true, ..State::default() })
    }

    /// Answers `METHOD /path` so.
    pub fn on(mut self, request: &str, status: u16, body: &str) -> Self {
        self.0.answers.insert(request.to_owned(), (status, body.to_owned()));
        self
    }

    /// Answers so whatever it does not know.
    pub fn otherwise(mut self, status: u16, body: &str) -> Self {
        self.0.otherwise = (status, body.to_owned());
        self
    }

    /// Sends this `server` header.
    pub fn server(mut self, server: &'static str) -> Self {
        self.0.server = Some(server);
        self
    }

    /// Closes each connection after one answer.
    pub fn closing(mut self) -> Self {
        self.0.keeps_alive = false;
        self
    }

    pub async fn start(self) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(self.0);
        Fake { address, serving: tokio::spawn(serve(listener, state.clone())), state }
    }
}

impl Fake {
    pub fn url(&self) -> EngineUrl {
        self.address.to_string().parse().unwrap()
    }

    /// `METHOD /path` of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (state, keeps_alive) = (state.clone(), state.keeps_alive);
        let service = service_fn(move |request| {
            let answer = state.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut http = http1::Builder::new();
        http.keep_alive(keeps_alive);
        connections.spawn(async move { http.serve_connection(TokioIo::new(stream), service).await });
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = format!("{} {}", request.method(), request.uri().path());
        let known = self.answers.get(&asked).cloned();
        self.asked.lock().unwrap().push(asked);
        let (status, body) = known.unwrap_or_else(|| self.otherwise.clone());
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(server) = self.server {
            response.headers_mut().insert("server", server.parse().unwrap());
        }
        response
    }
}
