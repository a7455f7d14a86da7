//! What the key may use: model lists of every dialect, answered by the server itself.

use common::{ModelName, ModelReport};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Door, Error, body::Body, reply};
use crate::{
    auth::Principal,
    registry::{Registry, Snapshot},
};

/// For load balancers: whether to send requests here.
pub fn health(door: &Door) -> Result<Response<Body>, Error> {
    if door.shared.lame.is_cancelled() {
        return Err(Error::Draining);
    }
    Ok(reply::json(StatusCode::OK, &json!({"status": "ok"})))
}

/// `GET /api/version`.
pub fn version() -> Response<Body> {
    reply::json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /v1/models`.
pub fn models(registry: &Registry, principal: &Principal, anthropic: bool) -> Response<Body> {
    let snapshot = registry.snapshot();
    let models = visible(&snapshot, principal);
    let data: Vec<_> = models.iter().map(|(name, report)| entry(name, report, anthropic)).collect();
    let list = if anthropic {
        let id = |model: Option<&(&ModelName, &ModelReport)>| model.map(|(name, _)| name.as_str().to_owned());
        json!({"data": data, "has_more": false, "first_id": id(models.first()), "last_id": id(models.last())})
    } else {
        json!({"object": "list", "data": data})
    };
    reply::json(StatusCode::OK, &list)
}

/// `GET /v1/models/{id}`; the id may hold slashes and colons, escaped or not.
pub fn model(
    registry: &Registry,
    principal: &Principal,
    escaped: &str,
    anthropic: bool,
) -> Result<Response<Body>, Error> {
    let name = unescape(escaped).ok_or(common::model::BadModelName)?;
    let snapshot = registry.snapshot();
    let found = snapshot.model(&name, &principal.access).filter(|(name, _)| principal.may_see(name));
    let (name, report) = found.ok_or_else(|| Error::UnknownModel(name.clone()))?;
    Ok(reply::json(StatusCode::OK, &entry(name, report, anthropic)))
}

/// `GET /api/tags`.
pub fn tags(registry: &Registry, principal: &Principal) -> Response<Body> {
    let snapshot = registry.snapshot();
    let models: Vec<_> =
        visible(&snapshot, principal).into_iter().map(|(name, report)| tag(name, report)).collect();
    reply::json(StatusCode::OK, &json!({"models": models}))
}

/// `GET /api/ps`: the models that are in some engine's memory.
pub fn running(registry: &Registry, principal: &Principal) -> Response<Body> {
    let snapshot = registry.snapshot();
    let loaded = |name: &ModelName| {
        snapshot.candidates(name.as_str()).iter().any(|candidate| {
            let models = &candidate.engine.report.models;
            models.iter().any(|model| model.name == *name && model.loaded == Some(true))
        })
    };
    let models = visible(&snapshot, principal);
    let models: Vec<_> =
        models.into_iter().filter(|(name, _)| loaded(name)).map(|(name, report)| tag(name, report)).collect();
    reply::json(StatusCode::OK, &json!({"models": models}))
}

fn visible<'a>(snapshot: &'a Snapshot, principal: &Principal) -> Vec<(&'a ModelName, &'a ModelReport)> {
    let mut models: Vec<_> =
        snapshot.models(&principal.access).filter(|(name, _)| principal.may_see(name)).collect();
    models.sort_unstable_by_key(|(name, _)| *name);
    models
}

fn entry(name: &ModelName, report: &ModelReport, anthropic: bool) -> Value {
    if anthropic {
        return json!({
            "type": "model",
            "id": name.as_str(),
            "display_name": name.as_str(),
            "created_at": rfc3339(report.modified_unix),
        });
    }
    json!({
        "id": name.as_str(),
        "object": "model",
        "created": report.modified_unix.unwrap_or(0),
        "owned_by": "gpufabric",
    })
}

fn tag(name: &ModelName, report: &ModelReport) -> Value {
    json!({
        "name": name.as_str(),
        "model": name.as_str(),
        "modified_at": rfc3339(report.modified_unix),
        "size": report.size_bytes.unwrap_or(0),
        "digest": report.digest.as_deref().unwrap_or_default(),
        "details": {},
    })
}

fn rfc3339(unix: Option<u64>) -> String {
    let seconds = i64::try_from(unix.unwrap_or(0)).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Resolves `%XX`; `None` when what it stands for is no model's name.
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok().filter(|name| ModelName::is_valid(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_come_escaped_or_not() {
        assert_eq!(unescape("a/b:c").as_deref(), Some("a/b:c"));
        assert_eq!(unescape("a%2Fb%3ac").as_deref(), Some("a/b:c"));
        for odd in ["a%2", "a%zz", "%2e%2e/x", "a%20b", "%ff"] {
            assert_eq!(unescape(odd), None, "{odd}");
        }
    }
}
