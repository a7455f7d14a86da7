//! A request from its head to its end: its slot, its times, its counts. However it ends, it gives back the
//! slot and leaves one record of usage: before the last byte of an answer, or when it is dropped.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::{Dialect, Endpoint, ModelName};
use http::StatusCode;

use super::meter::Tokens;
use crate::{
    dispatch::Source,
    store::{KeyId, Outcome, UsageId, UsageRecord},
    telemetry::{InFlight, Metrics, Recorder},
};

/// An accounted request.
#[derive(Debug)]
pub struct Flight {
    /// What the engine counted.
    pub tokens: Tokens,
    key_id: KeyId,
    endpoint: Endpoint,
    model: Option<ModelName>,
    began: Instant,
    first_byte: Option<Instant>,
    source: Option<Source>,
    status: StatusCode,
    outcome: Outcome,
    bytes: u64,
    recorded: bool,
    recorder: Recorder,
    metrics: Metrics,
    _in_flight: InFlight,
}

impl Flight {
    /// A request that was authorised. Unless told otherwise, its caller leaves before its end.
    pub fn begin(
        key_id: KeyId,
        endpoint: Endpoint,
        began: Instant,
        recorder: Recorder,
        metrics: Metrics,
    ) -> Self {
        Self {
            tokens: Tokens::default(),
            key_id,
            endpoint,
            model: None,
            began,
            first_byte: None,
            source: None,
            // What others call "client closed request".
            status: StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            outcome: Outcome::Cancelled,
            bytes: 0,
            recorded: false,
            recorder,
            _in_flight: metrics.begin(),
            metrics,
        }
    }

    /// The model that is asked for.
    pub fn set_model(&mut self, model: ModelName) {
        self.model = Some(model);
    }

    /// An engine has begun to answer.
    pub fn answered(&mut self, source: Source, status: StatusCode) {
        self.first_byte = Some(Instant::now());
        self.source = Some(source);
        self.status = status;
    }

    /// The caller is told of a failure instead of an answer.
    pub fn rejected(&mut self, status: StatusCode) {
        self.status = status;
        self.outcome = Outcome::Failed;
    }

    /// Bytes for the caller.
    pub const fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Closes the account and gives back the slot, at once: what is sent to the caller after this is sent
    /// with its record written down.
    pub fn end(&mut self, outcome: Outcome) {
        if outcome == Outcome::Aborted {
            self.metrics.cut(self.dialect());
        }
        self.record(outcome);
        if let Some(source) = &mut self.source {
            source.slot = None;
        }
    }

    /// Writes the record, unless that is done. The engine may still be at work for it.
    pub fn record(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.recorded, true) {
            self.outcome = outcome;
            let account = self.account();
            self.recorder.usage(&account);
        }
    }

    fn account(&mut self) -> UsageRecord {
        let duration = self.began.elapsed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_unix_ms = u64::try_from(wall.saturating_sub(duration).as_millis()).unwrap_or(u64::MAX);
        let first_token = self.first_byte.map(|first| millis(first.duration_since(self.began)));
        let count = |tokens: Option<u64>| tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        UsageRecord {
            id: UsageId::next(started_unix_ms),
            key_id: self.key_id,
            model: self.model.take(),
            agent_id: self.source.as_ref().map(|source| source.agent),
            engine: self.source.as_ref().map(|source| source.kind),
            dialect: self.dialect(),
            endpoint: self.endpoint,
            status: self.status.as_u16(),
            outcome: self.outcome,
            prompt_tokens: count(self.tokens.prompt),
            completion_tokens: count(self.tokens.completion),
            first_token_ms: first_token,
            duration_ms: millis(duration),
            bytes: self.bytes,
            started_unix_ms,
        }
    }

    fn dialect(&self) -> Dialect {
        self.endpoint.dialect()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.record(self.outcome);
    }
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
