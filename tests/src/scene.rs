//! The usual scene: a gateway, an agent, an engine and a caller's key.

use sim_engine::{Kind, Ledger, SimEngine};

/// A request as an engine received it.
pub use sim_engine::Request as Received;

use crate::agent::Agent;
use crate::connection::{Answer, Stream};
use crate::gateway::{self, Gateway};
use crate::request::Request;

/// The model of the usual engine.
pub const MODEL: &str = "m";
/// Enough room that slots are nobody's concern.
const SLOTS: usize = 64;

/// An engine with one model, numbered tokens and room enough.
pub async fn engine(kind: Kind) -> SimEngine {
    engine_with_slots(kind, SLOTS).await
}

/// The usual engine with this many slots.
pub async fn engine_with_slots(kind: Kind, slots: usize) -> SimEngine {
    SimEngine::builder().kind(kind).models([MODEL]).slots(slots).numbered().start().await.expect("an engine")
}

/// Everything that a request needs.
#[derive(Debug)]
pub struct Scene {
    /// A key for all models.
    pub key: String,
    /// The agent in front of the engine.
    pub agent: Agent,
    /// The engine.
    pub engine: SimEngine,
    /// The gateway.
    pub gateway: Gateway,
}

impl Scene {
    /// With an engine of this kind and a gateway as it is by itself.
    pub async fn new(kind: Kind) -> Self {
        Self::with(Gateway::builder(), engine(kind).await).await
    }

    /// With a gateway of these limits and a llama.cpp engine.
    pub async fn limited(limits: &[(&str, u64)]) -> Self {
        Self::with(Gateway::builder().limits(limits), engine(Kind::LlamaCpp).await).await
    }

    /// With this gateway and this engine.
    pub async fn with(gateway: gateway::Builder, engine: SimEngine) -> Self {
        let gateway = gateway.start().await;
        let agent = gateway.build_agent().engine(&engine).slots(engine.slots()).start().await;
        let key = gateway.key().await;
        Self { key, agent, engine, gateway }
    }

    /// A chat completion for the usual model.
    pub fn chat(&self, stream: bool) -> Request {
        Request::chat(&self.key, MODEL, stream)
    }

    /// Sends a request and reads the answer.
    pub async fn ask(&self, request: &Request) -> Answer {
        self.gateway.ask(request).await
    }

    /// Sends a request and reads the head of the answer.
    pub async fn open(&self, request: &Request) -> Stream {
        self.gateway.open(request).await
    }

    /// What the engine received.
    pub fn ledger(&self) -> &Ledger {
        self.engine.ledger()
    }

    /// Asserts that no request for work reached the engine, in whatever form.
    pub fn assert_engine_untouched(&self) {
        let seen: Vec<_> = self.ledger().requests().into_iter().map(|one| (one.method, one.target)).collect();
        assert!(seen.is_empty(), "the engine got {seen:?}");
        assert!(self.ledger().malformed().is_empty(), "the engine got {:?}", self.ledger().malformed());
    }

    /// Asserts that a plain chat is answered: nothing is stuck.
    pub async fn assert_serves(&self) {
        let answer = self.ask(&self.chat(false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}
