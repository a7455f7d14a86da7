//! Holds answers against the OpenAPI document: the part of JSON Schema that it uses.

use std::sync::LazyLock;

use serde_json::Value;

use super::Answer;
use crate::api::{ROUTES, openapi};

/// The document.
pub(super) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(openapi::text()).unwrap());

/// Fails where an answer is not what the document says of it.
pub(super) fn assert_documented(method: &str, path: &str, answer: &Answer) {
    let bare = path.split('?').next().unwrap();
    let Some(route) = ROUTES.iter().find(|route| route.method == method && matches(route.path, bare)) else {
        return;
    };
    let operation = &DOCUMENT["paths"][route.path][method.to_lowercase()];
    let told = &operation["responses"][answer.status.to_string()];
    // Bad bodies and the like are documented once, in words.
    if told.is_null() && (400..500).contains(&answer.status) {
        return;
    }
    assert!(told.is_object(), "{method} {path}: {} is not documented", answer.status);
    let Some(schema) = told["content"].get("application/json").map(|content| &content["schema"]) else {
        return;
    };
    if route.path == openapi::PATH {
        return;
    }
    let wrong = check(&answer.json(), schema, "answer");
    assert!(wrong.is_empty(), "{method} {path} {}: {wrong:#?}\n{}", answer.status, answer.body);
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(want, is)| want.starts_with('{') || want == is)
}

/// What is wrong with a value.
pub(super) fn check(value: &Value, schema: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let named = &DOCUMENT["components"]["schemas"][name];
        assert!(named.is_object(), "{reference} leads nowhere");
        return check(value, named, at);
    }
    for any in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[any].as_array() {
            let fits = choices.iter().any(|choice| check(value, choice, at).is_empty());
            return if fits { vec![] } else { vec![format!("{at} fits none of {choices:?}")] };
        }
    }
    if !schema["type"].is_null() && !types(schema).iter().any(|kind| is_of(value, kind)) {
        return vec![format!("{at} is no {}: {value}", schema["type"])];
    }
    let mut wrong = fields(value, schema, at);
    if let (Some(items), Some(rows)) = (schema.get("items"), value.as_array()) {
        wrong.extend(rows.iter().flat_map(|row| check(row, items, &format!("{at}[]"))));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        wrong.push(format!("{at} is none of {allowed:?}: {value}"));
    }
    wrong
}

fn fields(value: &Value, schema: &Value, at: &str) -> Vec<String> {
    let (Some(known), Some(object)) = (schema["properties"].as_object(), value.as_object()) else {
        return vec![];
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let missing = required.iter().filter(|field| !object.contains_key(field.as_str().unwrap()));
    let mut wrong: Vec<_> = missing.map(|field| format!("{at} lacks {field}")).collect();
    for (field, value) in object {
        match known.get(field) {
            Some(schema) => wrong.extend(check(value, schema, &format!("{at}.{field}"))),
            None => wrong.push(format!("{at}.{field} is not documented")),
        }
    }
    wrong
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn a_value_that_does_not_fit_is_told() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "properties": { "a": { "type": ["integer", "null"] } }
    });
    let wrong = |value: Value| check(&value, &schema, "x").len();
    assert_eq!(wrong(serde_json::json!({ "a": 1 })), 0);
    assert_eq!(wrong(serde_json::json!({ "a": null })), 0);
    assert_eq!(wrong(serde_json::json!({ "a": "1" })), 1);
    assert_eq!(wrong(serde_json::json!({ "b": 1 })), 2);
    assert_eq!(wrong(serde_json::json!([])), 1);
}
