//! From a request to an answer: candidates, pick, slot, stream, and another try before the first byte.

mod attempt;
mod retry;
mod waiting;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{AgentId, Endpoint, EngineId, EngineKind};
use http::{HeaderMap, response, uri::PathAndQuery};
use tokio::time::Instant;
use tracing::debug;

pub use attempt::{has_type, is_stream};

use crate::{
    auth::Principal,
    balance,
    registry::{Candidate, Engine, Registry, Slot},
    telemetry::Metrics,
    tunnel::{self, ProxyStream},
};
use retry::RetryBudget;
use waiting::WaitingRoom;

/// Why there is no answer. Each says what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No agent serves or served the model.
    #[error("no agent serves this model")]
    UnknownModel,
    /// The model is served, but not at this endpoint.
    #[error("the model's engines do not have this endpoint")]
    UnsupportedEndpoint,
    /// No slot came free in time, or no agent is there.
    #[error("no free slot in time")]
    NoCapacity,
    /// Too many wait already.
    #[error("too many requests wait for this model")]
    Overloaded,
    /// The engine did not answer in time.
    #[error("the engine did not answer in time")]
    UpstreamTimeout,
    /// The engine or the way to it failed.
    #[error("the engine failed")]
    Upstream,
}

/// Times and bounds of a dispatch.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// For a slot to come free.
    pub slot_wait: Duration,
    /// From sending to the first byte of a streamed answer.
    pub first_token: Duration,
    /// For a whole plain answer.
    pub plain_request: Duration,
    /// Requests that wait per model.
    pub waiting_per_model_max: usize,
}

/// A request on its way to an engine.
#[derive(Debug)]
pub struct Outgoing {
    /// Whose it is.
    pub principal: Arc<Principal>,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Which model.
    pub model: Box<str>,
    /// Path and query for the engine.
    pub path: PathAndQuery,
    /// Headers that may leave.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether the answer is to be streamed.
    pub streamed: bool,
}

/// An engine's answer of which nothing has reached the caller.
#[derive(Debug)]
pub struct Answered {
    /// Status and headers.
    pub head: response::Parts,
    /// The beginning of the body, or all of it.
    pub begun: Bytes,
    /// What follows, unless that was all.
    pub rest: Option<tunnel::Body>,
    /// Where it comes from.
    pub source: Source,
}

/// Who answers, and the slot that is taken for it.
#[derive(Debug)]
pub struct Source {
    /// The agent.
    pub agent: AgentId,
    /// Its engine.
    pub engine: EngineId,
    /// What the engine is.
    pub kind: EngineKind,
    /// Given back by dropping.
    pub slot: Option<Slot>,
}

/// Finds an engine for each request.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    settings: Settings,
    retries: RetryBudget,
    waiting: WaitingRoom,
    metrics: Metrics,
}

impl Dispatcher {
    /// Over the agents of `registry`.
    pub fn new(registry: Registry, settings: Settings, metrics: Metrics) -> Self {
        let waiting = WaitingRoom::new(settings.waiting_per_model_max);
        Self {
            shared: Arc::new(Shared {
                registry,
                settings,
                retries: RetryBudget::default(),
                waiting,
                metrics,
            }),
        }
    }

    /// The registry that it chooses from.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Sends `request` to an engine, and to another one if the first fails before anything is told.
    /// `worker` is the one that this runs on.
    ///
    /// # Errors
    /// The last failure, if no engine answered.
    pub async fn answer(&self, worker: usize, request: &Outgoing) -> Result<Answered, Error> {
        let active = self.shared.retries.enter();
        let deadline = Instant::now() + self.shared.settings.slot_wait;
        let wanted = Wanted::by(request);
        let (candidate, slot) = self.claim(wanted, deadline).await?;
        let tried = candidate.engine.clone();
        let failure = match self.attempt(worker, request, candidate, slot).await {
            Ok(answered) => return Ok(answered),
            Err(failure) => failure,
        };
        debug!(?failure, model = %request.model, "attempt failed");
        let Some(_retry) = active.retry() else { return Err(failure.into()) };
        self.shared.metrics.retried();
        // Rare, and large: on the heap, it does not weigh on every request.
        Box::pin(async {
            let again = self.claim_again(request, &tried, failure).await.ok_or(failure)?;
            Ok(self.attempt(worker, request, again.0, again.1).await?)
        })
        .await
    }

    /// A connection for one upgrade, and who it leads to.
    ///
    /// # Errors
    /// When no agent could be reached.
    pub async fn dedicated(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        model: &str,
    ) -> Result<(ProxyStream, Source), Error> {
        let deadline = Instant::now() + self.shared.settings.slot_wait;
        let wanted = Wanted { principal, endpoint, model, except: None };
        let (candidate, slot) = self.claim(wanted, deadline).await?;
        match candidate.agent.tunnel.dedicated().await {
            Ok(stream) => Ok((stream, source(&candidate, slot))),
            Err(_) => {
                drop(slot);
                let (other, slot) = self.claim(wanted.except(&candidate.engine), deadline).await?;
                let stream = other.agent.tunnel.dedicated().await.map_err(|_| Error::NoCapacity)?;
                Ok((stream, source(&other, slot)))
            }
        }
    }

    /// Another engine than the one that failed; the same one only if what failed was the way to it.
    async fn claim_again(
        &self,
        request: &Outgoing,
        tried: &Arc<Engine>,
        failure: attempt::Failure,
    ) -> Option<(Candidate, Slot)> {
        let deadline = Instant::now() + self.shared.settings.slot_wait;
        let wanted = Wanted::by(request);
        if self.has_any(wanted.except(tried)) {
            return self.claim(wanted.except(tried), deadline).await.ok();
        }
        if failure.was_on_the_way() { self.claim(wanted, deadline).await.ok() } else { None }
    }

    fn has_any(&self, wanted: Wanted<'_>) -> bool {
        let snapshot = self.shared.registry.snapshot();
        snapshot.candidates(wanted.model).iter().any(|candidate| wanted.load(candidate).is_some())
    }

    /// A slot of an engine that serves `model`, as soon as there is one.
    async fn claim(&self, wanted: Wanted<'_>, deadline: Instant) -> Result<(Candidate, Slot), Error> {
        if let Some(claimed) = self.try_claim(wanted)? {
            return Ok(claimed);
        }
        Box::pin(self.wait_for_slot(wanted, deadline)).await
    }

    async fn wait_for_slot(&self, wanted: Wanted<'_>, deadline: Instant) -> Result<(Candidate, Slot), Error> {
        let _place = self.shared.waiting.enter(wanted.model).ok_or(Error::Overloaded)?;
        loop {
            let freed = self.shared.registry.slots_freed().notified();
            tokio::pin!(freed);
            // Before the look, lest a slot that comes free in between be missed.
            freed.as_mut().enable();
            if let Some(claimed) = self.try_claim(wanted)? {
                return Ok(claimed);
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(|_| Error::NoCapacity)?;
        }
    }

    fn try_claim(&self, wanted: Wanted<'_>) -> Result<Option<(Candidate, Slot)>, Error> {
        let snapshot = self.shared.registry.snapshot();
        let candidates = snapshot.candidates(wanted.model);
        let allowed = |candidate: &Candidate| wanted.principal.access.allows(candidate.agent.owner.as_ref());
        if !candidates.is_empty() && !candidates.iter().any(allowed) {
            return Err(Error::UnknownModel);
        }
        if candidates.is_empty() {
            return if snapshot.knows(wanted.model) { Ok(None) } else { Err(Error::UnknownModel) };
        }
        let has_endpoint =
            |candidate: &Candidate| candidate.engine.report.endpoints.contains(wanted.endpoint);
        if !candidates.iter().any(|candidate| allowed(candidate) && has_endpoint(candidate)) {
            return Err(Error::UnsupportedEndpoint);
        }
        let load = |index: usize| wanted.load(candidates.get(index)?);
        // Another request may take the slot between the look and the claim; then the loads have changed.
        for _ in 0..=candidates.len() {
            let Some(index) = balance::least_connections(load, candidates.len(), fastrand::u64(..)) else {
                break;
            };
            if let Some(slot) = candidates[index].engine.slots.claim() {
                return Ok(Some((candidates[index].clone(), slot)));
            }
        }
        Ok(None)
    }
}

/// What a candidate must be.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    principal: &'a Principal,
    endpoint: Endpoint,
    model: &'a str,
    except: Option<&'a Arc<Engine>>,
}

impl<'a> Wanted<'a> {
    fn by(request: &'a Outgoing) -> Self {
        let Outgoing { principal, endpoint, model, .. } = request;
        Self { principal, endpoint: *endpoint, model, except: None }
    }

    const fn except(mut self, engine: &'a Arc<Engine>) -> Self {
        self.except = Some(engine);
        self
    }

    /// The load of a candidate, if it is one.
    fn load(&self, candidate: &Candidate) -> Option<balance::Load> {
        let excluded = self.except.is_some_and(|engine| Arc::ptr_eq(&engine.slots, &candidate.engine.slots));
        let allowed = self.principal.access.allows(candidate.agent.owner.as_ref());
        if excluded || !allowed { None } else { candidate.load_for(self.endpoint) }
    }
}

fn source(candidate: &Candidate, slot: Slot) -> Source {
    Source {
        agent: candidate.agent.id,
        engine: candidate.engine.report.id.clone(),
        kind: candidate.engine.report.kind,
        slot: Some(slot),
    }
}
