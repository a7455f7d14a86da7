//! An agent that speaks the wire protocol itself, so that it can be hostile.

use std::sync::Arc;

use bytes::Bytes;
use common::codec::{self, Decoder};
use common::join::JoinString;
use common::message::{
    AgentMessage, Enrol, Enrolled, Login, NewProxyConn, ProxyMode, ServerMessage, Welcome,
};
use common::{
    AgentId, EndpointSet, EngineKind, EngineReport, ModelReport, ProxyConnId, endpoint, tls, tunnel,
};
use h2::server::SendResponse;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::{Addresses, Gateway};
use crate::wait::{eventually, in_time};

/// The size of the pieces in which a fake agent pours bytes out.
const PIECE_BYTES: usize = 16 * 1024;

/// What a fake agent does with orders and requests.
#[derive(Clone, Debug)]
pub enum Conduct {
    /// Is asked for proxy connections and dials none.
    NeverDials,
    /// Dials, and answers every request with this head and body.
    Answers {
        /// The status.
        status: u16,
        /// The headers, as they are.
        headers: Vec<(String, Vec<u8>)>,
        /// The body.
        body: Bytes,
    },
    /// Dials, and answers with a line of this many bytes; without a number it never ends.
    Line {
        /// Bytes of the line.
        bytes: Option<u64>,
    },
    /// Dials, takes requests, reads nothing of their bodies and answers nothing.
    ReadsNothing,
}

/// An identity at a gateway, without a connection.
pub struct Identity {
    /// The agent's id.
    pub id: AgentId,
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
    authority: CertificateDer<'static>,
}

impl Identity {
    /// Enrols at the gateway with a join token of its own.
    pub async fn enrol(gateway: &Gateway) -> Self {
        Self::try_enrol(gateway, None).await.unwrap_or_else(|reason| panic!("not enrolled: {reason}"))
    }

    /// Enrols, wanting a certain id; the gateway's reason if it refuses.
    ///
    /// # Errors
    /// The reason, for a person.
    pub async fn try_enrol(gateway: &Gateway, wanted_id: Option<AgentId>) -> Result<Self, String> {
        Self::enrol_with(gateway, &gateway.join_string().await, wanted_id).await
    }

    /// Enrols with this join string; the gateway's reason if it refuses.
    ///
    /// # Errors
    /// The reason, for a person.
    pub async fn enrol_with(
        gateway: &Gateway,
        join: &str,
        wanted_id: Option<AgentId>,
    ) -> Result<Self, String> {
        let join: JoinString = join.parse().expect("a join string");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([]).expect("an empty request");
        let request_der = params.serialize_request(&key).expect("a request").der().to_vec();
        let config = tls::enrolment_config(join.fingerprint, tunnel::ALPN_ENROL).expect("TLS");
        let mut stream =
            connect(config, gateway.addresses.control).await.map_err(|error| error.to_string())?;
        let enrol = Enrol { token: join.token, request_der, name: "fake".into(), wanted_id };
        stream
            .write_all(&codec::encode(&enrol).expect("a frame"))
            .await
            .map_err(|error| error.to_string())?;
        let mut decoder = Decoder::<Enrolled>::default();
        let answer = read_message(&mut stream, &mut decoder).await.ok_or("closed without an answer")?;
        let (id, chain_der) = match answer {
            Enrolled::Accepted { agent_id, chain_der } => (agent_id, chain_der),
            Enrolled::Refused { reason } => return Err(reason),
        };
        let mut chain: Vec<CertificateDer<'static>> =
            chain_der.into_iter().map(CertificateDer::from).collect();
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default().iter().cloned();
        let known: Vec<CertificateDer<'static>> = chain.iter().cloned().chain(shown).collect();
        let authority = tls::pinned(&known, join.fingerprint).expect("the authority's certificate");
        let authority = authority.clone().into_owned();
        chain.retain(|certificate| *certificate != authority);
        Ok(Self { id, chain, key_der: key.serialize_der(), authority })
    }

    /// Somebody who claims this id with a certificate of their own making.
    pub fn forged(id: AgentId, authority_of: &Self) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("an empty certificate");
        let uri = tls::agent_uri(id).try_into().expect("an ASCII name");
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        let leaf = params.self_signed(&key).expect("a certificate");
        let authority = authority_of.authority.clone();
        Self { id, chain: vec![leaf.der().clone()], key_der: key.serialize_der(), authority }
    }

    fn config(&self, alpn: &[u8]) -> ClientConfig {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        tls::agent_config(self.chain.clone(), key, &self.authority, alpn).expect("TLS")
    }

    /// Opens a control session, with the login still to be sent.
    ///
    /// # Errors
    /// What TLS says when the gateway does not take the certificate. TLS 1.3 may say so only at the first read.
    pub async fn connect(&self, addresses: Addresses) -> std::io::Result<Session> {
        let stream = connect(self.config(tunnel::ALPN_CONTROL), addresses.control).await?;
        Ok(Session { stream, decoder: Decoder::default() })
    }

    /// Dials the proxy port and presents this id.
    ///
    /// # Errors
    /// When the gateway does not take the connection.
    pub async fn dial(
        &self,
        addresses: Addresses,
        proxy_conn_id: ProxyConnId,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = connect(self.config(tunnel::ALPN_PROXY), addresses.proxy).await?;
        stream.write_all(&codec::encode(&NewProxyConn { proxy_conn_id }).expect("a frame")).await?;
        Ok(stream)
    }
}

/// A control session from the agent's side.
pub struct Session {
    stream: TlsStream<TcpStream>,
    decoder: Decoder<ServerMessage>,
}

impl Session {
    /// Sends a message; whether the gateway still takes it.
    pub async fn send(&mut self, message: &AgentMessage) -> bool {
        self.send_bytes(&codec::encode(message).expect("a frame")).await
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// The next message; `None` when the session ends.
    pub async fn receive(&mut self) -> Option<ServerMessage> {
        read_message(&mut self.stream, &mut self.decoder).await
    }

    /// Whether the gateway ends the session; answers nothing meanwhile.
    pub async fn is_closed(&mut self) -> bool {
        in_time("the end of the session", async { while self.receive().await.is_some() {} }).await;
        true
    }

    /// Logs in with these engines.
    pub async fn log_in(&mut self, engines: Vec<EngineReport>) -> Welcome {
        self.send(&AgentMessage::Login(login(engines))).await;
        match in_time("a welcome", self.receive()).await {
            Some(ServerMessage::Welcome(welcome)) => welcome,
            other => panic!("no welcome: {other:?}"),
        }
    }
}

/// A login with these engines.
pub fn login(engines: Vec<EngineReport>) -> Login {
    Login {
        version: "0.0.0".into(),
        name: "fake".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        labels: Vec::new(),
        location: None,
        engines,
        servers: Vec::new(),
    }
}

/// An engine that serves one model at every endpoint.
pub fn engine_report(model: &str, slots: u32) -> EngineReport {
    EngineReport {
        id: "fake".parse().expect("an engine id"),
        kind: EngineKind::OpenAiCompatible,
        version: None,
        endpoints: EndpointSet::of(endpoint::Endpoint::ALL),
        models: vec![ModelReport::named(model.parse().expect("a model name"))],
        slots,
        waiting: None,
    }
}

/// A logged-in fake agent that acts in the background. Dropped, its connections close.
pub struct FakeAgent {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What the gateway asked it to dial, oldest first.
    pub orders: mpsc::UnboundedReceiver<(ProxyConnId, ProxyMode)>,
    session: JoinHandle<()>,
    send: mpsc::UnboundedSender<Outgoing>,
}

/// A message to be sent, and who wants to hear whether the session took it.
type Outgoing = (AgentMessage, oneshot::Sender<bool>);

impl FakeAgent {
    /// Enrols, logs in with one model, and waits until the gateway shows it.
    pub async fn start(gateway: &Gateway, model: &str, slots: u32, conduct: Conduct) -> Self {
        let identity = Arc::new(Identity::enrol(gateway).await);
        let agent = Self::log_in(identity, gateway.addresses, engine_report(model, slots), conduct).await;
        let id = agent.identity.id.to_string();
        eventually("the fake agent at the gateway", async || {
            gateway.agents().await.iter().any(|agent| crate::agent::id_of(agent) == id).then_some(())
        })
        .await;
        agent
    }

    /// Logs in to a gateway that knows this identity.
    pub async fn log_in(
        identity: Arc<Identity>,
        addresses: Addresses,
        engine: EngineReport,
        conduct: Conduct,
    ) -> Self {
        let mut session = identity.connect(addresses).await.expect("a session");
        session.log_in(vec![engine]).await;
        let (order, orders) = mpsc::unbounded_channel();
        let (send, to_send) = mpsc::unbounded_channel();
        let acting = act(session, Arc::clone(&identity), addresses, conduct, order, to_send);
        Self { session: tokio::spawn(acting), identity, orders, send }
    }

    /// Sends a message of any kind on its session.
    pub fn send(&self, message: AgentMessage) {
        let _ = self.send.send((message, oneshot::channel().0));
    }

    /// Sends a message and waits until it is written; false when the session has ended.
    pub async fn deliver(&self, message: AgentMessage) -> bool {
        let (told, written) = oneshot::channel();
        let _ = self.send.send((message, told));
        written.await.unwrap_or(false)
    }

    /// The next order to dial.
    pub async fn order(&mut self) -> (ProxyConnId, ProxyMode) {
        in_time("an order to dial", self.orders.recv()).await.expect("a session that lives")
    }

    /// Waits for the end of its session.
    pub async fn session_ends(&mut self) {
        let _ = in_time("the end of the fake agent's session", &mut self.session).await;
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.session.abort();
    }
}

async fn act(
    mut session: Session,
    identity: Arc<Identity>,
    addresses: Addresses,
    conduct: Conduct,
    order: mpsc::UnboundedSender<(ProxyConnId, ProxyMode)>,
    mut to_send: mpsc::UnboundedReceiver<Outgoing>,
) {
    let mut connections = JoinSet::new();
    loop {
        let message = tokio::select! {
            message = session.receive() => message,
            Some((message, told)) = to_send.recv() => {
                let _ = told.send(session.send(&message).await);
                continue;
            }
        };
        match message {
            None => return,
            Some(ServerMessage::Ping { nonce }) => {
                session.send(&AgentMessage::Pong { nonce }).await;
            }
            Some(ServerMessage::RequestNewProxyConn { proxy_conn_id, mode }) => {
                let _ = order.send((proxy_conn_id, mode));
                if !matches!(conduct, Conduct::NeverDials) {
                    let (identity, conduct) = (Arc::clone(&identity), conduct.clone());
                    connections.spawn(async move {
                        if let Ok(stream) = identity.dial(addresses, proxy_conn_id).await {
                            serve(stream, conduct).await;
                        }
                    });
                }
            }
            Some(_) => {}
        }
    }
}

/// Serves HTTP/2 on a proxy connection as a real agent would, but for the answers.
pub async fn serve(stream: TlsStream<TcpStream>, conduct: Conduct) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(tunnel::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(tunnel::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(tunnel::STREAMS_PER_CONNECTION_MAX);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let conduct = conduct.clone();
        // The request is kept, so that its body is neither read nor given up.
        streams.spawn(async move {
            answer(respond, conduct).await;
            drop(request);
        });
    }
}

async fn answer(mut respond: SendResponse<Bytes>, conduct: Conduct) {
    match conduct {
        Conduct::NeverDials | Conduct::ReadsNothing => std::future::pending().await,
        Conduct::Answers { status, headers, body } => {
            let mut builder = http::Response::builder().status(status);
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            let head = builder.body(()).expect("headers that HTTP/2 can carry");
            if let Ok(mut stream) = respond.send_response(head, body.is_empty()) {
                let _ = stream.send_data(body, true);
            }
        }
        Conduct::Line { bytes } => pour_line(respond, bytes).await,
    }
}

async fn pour_line(mut respond: SendResponse<Bytes>, bytes: Option<u64>) {
    let head =
        http::Response::builder().header("content-type", "text/event-stream").body(()).expect("a head");
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    let mut left = bytes.unwrap_or(u64::MAX);
    let _ = stream.send_data(Bytes::from_static(b"data: "), false);
    while left > 0 {
        stream.reserve_capacity(PIECE_BYTES);
        let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else {
            return;
        };
        let size = u64::try_from(room).unwrap_or(u64::MAX).min(left);
        left -= size;
        let piece = vec![b'x'; usize::try_from(size).expect("a piece fits into memory")];
        if stream.send_data(piece.into(), false).is_err() {
            return;
        }
    }
    let _ = stream.send_data(Bytes::from_static(b"\n\n"), true);
}

async fn connect(config: ClientConfig, addr: std::net::SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(addr).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1").expect("an address is a name").to_owned();
    in_time("a TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

async fn read_message<M: serde::de::DeserializeOwned + common::message::Bounded>(
    stream: &mut TlsStream<TcpStream>,
    decoder: &mut Decoder<M>,
) -> Option<M> {
    let mut piece = [0; 4096];
    loop {
        if let Some(message) = decoder.next_message().expect("frames of the gateway decode") {
            return Some(message);
        }
        // A peer that closes without close_notify has closed all the same.
        let size = stream.read(&mut piece).await.unwrap_or(0);
        if size == 0 {
            return None;
        }
        decoder.push(&piece[..size]);
    }
}
