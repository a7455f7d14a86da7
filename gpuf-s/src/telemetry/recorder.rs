//! Writes down what has to be kept, from any thread and without waiting: it is in the outbox on return.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{
    AgentId,
    message::{Heartbeat, Login},
};

use super::{
    event::{Event, What},
    request_message,
};
use crate::{
    outbox::{Counts, Entry, Outbox, Topic},
    store::UsageRecord,
};

/// Takes records from any thread. Clones share one outbox.
#[derive(Debug, Clone)]
pub struct Recorder {
    outbox: Outbox,
}

impl Recorder {
    /// Into this outbox.
    #[must_use]
    pub const fn new(outbox: Outbox) -> Self {
        Self { outbox }
    }

    /// What a request used. On return it outlives this process, unless the outbox counted it as refused.
    pub fn usage(&self, record: &UsageRecord) {
        let mut key = [0; 16];
        key[8..].copy_from_slice(&record.key_id.to_i64().to_be_bytes());
        match request_message::encode(record) {
            Ok(payload) => self.append(Topic::Requests, key, payload),
            Err(error) => tracing::error!(%error, "a record of usage cannot be written down"),
        }
    }

    /// How an agent is.
    pub fn heartbeat(&self, agent_id: AgentId, heartbeat: Heartbeat) {
        self.event(agent_id, What::Heartbeat(heartbeat));
    }

    /// Who an agent is and what it serves; `login` has the engines of the moment.
    pub fn inventory(&self, agent_id: AgentId, login: Login, address: Option<String>) {
        self.event(agent_id, What::Inventory { login: Box::new(login), address });
    }

    /// What became of all records so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.outbox.counts()
    }

    fn event(&self, agent_id: AgentId, what: What) {
        let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let received_unix_ms = u64::try_from(received.as_millis()).unwrap_or(u64::MAX);
        match (Event { agent_id, received_unix_ms, what }).encode() {
            Ok(payload) => self.append(Topic::Heartbeats, *agent_id.as_bytes(), payload),
            Err(error) => tracing::error!(%error, "an event cannot be written down"),
        }
    }

    fn append(&self, topic: Topic, key: [u8; 16], payload: Vec<u8>) {
        // What is refused is counted there by its reason, and serving goes on.
        let _ = self.outbox.append(Entry { topic, key, payload: Bytes::from(payload) });
    }
}
