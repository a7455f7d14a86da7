//! What a request used, as it travels on the topic `request-message`: JSON that others may read, too.

use common::{AgentId, Dialect, Endpoint, EngineKind, ModelName};
use serde::{Deserialize, Serialize};

use crate::store::{KeyId, Outcome, UsageId, UsageRecord};

/// The version that is written. Fields are only ever added.
const VERSION: u8 = 1;

/// Bytes that are no such message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON that it should be.
    #[error("no request message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Of a later program.
    #[error("a request message of version {0}")]
    Version(u8),
    /// A field that does not read back.
    #[error("a request message with an unknown {0}")]
    Field(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    v: u8,
    id: String,
    key_id: KeyId,
    model: Option<ModelName>,
    agent_id: Option<AgentId>,
    engine: Option<&'a str>,
    dialect: Dialect,
    endpoint: &'a str,
    status: u16,
    outcome: Outcome,
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    first_token_ms: Option<u32>,
    duration_ms: u32,
    bytes: u64,
    started_unix_ms: u64,
}

/// The record as bytes.
///
/// # Errors
/// None that a record can cause.
pub fn encode(record: &UsageRecord) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Message {
        v: VERSION,
        id: record.id.to_string(),
        key_id: record.key_id,
        model: record.model.clone(),
        agent_id: record.agent_id,
        engine: record.engine.map(EngineKind::as_str),
        dialect: record.dialect,
        endpoint: record.endpoint.path(),
        status: record.status,
        outcome: record.outcome,
        prompt_tokens: record.prompt_tokens,
        completion_tokens: record.completion_tokens,
        first_token_ms: record.first_token_ms,
        duration_ms: record.duration_ms,
        bytes: record.bytes,
        started_unix_ms: record.started_unix_ms,
    })
}

/// The record of bytes that anybody may have written.
///
/// # Errors
/// As [`Error`] says.
pub fn decode(bytes: &[u8]) -> Result<UsageRecord, Error> {
    let message: Message<'_> = serde_json::from_slice(bytes)?;
    if message.v != VERSION {
        return Err(Error::Version(message.v));
    }
    let engine = message.engine.map(|kind| kind.parse().map_err(|_| Error::Field("engine")));
    Ok(UsageRecord {
        id: message.id.parse::<UsageId>().map_err(|_| Error::Field("id"))?,
        key_id: message.key_id,
        model: message.model,
        agent_id: message.agent_id,
        engine: engine.transpose()?,
        dialect: message.dialect,
        endpoint: Endpoint::at(message.endpoint).ok_or(Error::Field("endpoint"))?,
        status: message.status,
        outcome: message.outcome,
        prompt_tokens: message.prompt_tokens,
        completion_tokens: message.completion_tokens,
        first_token_ms: message.first_token_ms,
        duration_ms: message.duration_ms,
        bytes: message.bytes,
        started_unix_ms: message.started_unix_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> UsageRecord {
        UsageRecord {
            id: UsageId::from_bytes([1; 16]),
            key_id: KeyId::from_i64(5),
            model: Some("qwen3:8b".parse().unwrap()),
            agent_id: None,
            engine: Some(EngineKind::LlamaCpp),
            dialect: Dialect::OpenAi,
            endpoint: Endpoint::ChatCompletions,
            status: 200,
            outcome: Outcome::Ok,
            prompt_tokens: Some(3),
            completion_tokens: None,
            first_token_ms: Some(12),
            duration_ms: 345,
            bytes: 6789,
            started_unix_ms: 1_800_000_000_000,
        }
    }

    #[test]
    fn a_message_reads_back_and_looks_as_it_is_documented() {
        let bytes = encode(&record()).unwrap();
        let golden = r#"{"v":1,"id":"01010101010101010101010101010101","key_id":"0000000000000005","model":"qwen3:8b","agent_id":null,"engine":"llama_cpp","dialect":"open_ai","endpoint":"/v1/chat/completions","status":200,"outcome":"ok","prompt_tokens":3,"completion_tokens":null,"first_token_ms":12,"duration_ms":345,"bytes":6789,"started_unix_ms":1800000000000}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), golden);
        assert_eq!(decode(&bytes).unwrap(), record());
    }

    #[test]
    fn what_is_no_message_says_why() {
        let text = String::from_utf8(encode(&record()).unwrap()).unwrap();
        for (from, to, why) in [
            ("\"v\":1", "\"v\":2", "version 2"),
            ("/v1/chat/completions", "/v1/x", "unknown endpoint"),
            ("llama_cpp", "llama", "unknown engine"),
            ("\"id\":\"01", "\"id\":\"zz", "unknown id"),
            ("\"ok\"", "\"fine\"", "no request message"),
        ] {
            let error = decode(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = decode(bytes);
        });
    }
}
