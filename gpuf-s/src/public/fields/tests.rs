//! Routing fields: found where they are, refused where they are not clear.

use super::*;

fn error(body: &str) -> Option<Error> {
    read(body.as_bytes()).err()
}

#[test]
fn routing_fields_are_found_wherever_they_stand() {
    let body = r#" {"messages":[{"role":"user","content":"\"model\": \"x\""}],"n":1.50e+3,
        "model":"a/b:c","stream":true,"stream_options":{"include_usage":false,"x":[{}]}} "#;
    let fields = read(body.as_bytes()).unwrap();
    assert_eq!(fields.model.as_deref(), Some("a/b:c"));
    assert_eq!((fields.stream, fields.include_usage), (Some(true), Some(false)));
    assert!(body[fields.stream_options_at.unwrap()..].starts_with("\"include_usage\""));
}

#[test]
fn a_model_that_is_named_twice_is_refused_in_any_spelling() {
    assert_eq!(error(r#"{"model":"a","model":"b"}"#), Some(Error::Duplicate("model")));
    assert_eq!(error(r#"{"model":"a","mod\u0065l":"b"}"#), Some(Error::Duplicate("model")));
    assert_eq!(read(br#"{"mod\u0065l":"\u0062"}"#).unwrap().model.as_deref(), Some("b"));
}

#[test]
fn wrong_types_name_the_field() {
    assert_eq!(error(r#"{"model":5}"#).unwrap().param(), Some("model"));
    assert_eq!(error(r#"{"model":["a"]}"#), Some(Error::Type("model")));
    assert_eq!(error(r#"{"stream":"yes"}"#), Some(Error::Type("stream")));
    assert_eq!(error(r#"{"messages":{}}"#), Some(Error::Type("messages")));
    assert_eq!(error(r#"[1]"#), Some(Error::NotAnObject));
    assert_eq!(error(r#"{"stream":null,"stream_options":null}"#), None);
}

#[test]
fn depth_and_messages_are_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(error(&nested(DEPTH_MAX - 1)), None);
    assert_eq!(error(&nested(DEPTH_MAX)), Some(Error::TooDeep));
    assert_eq!(error(&nested(1_000_000)), Some(Error::TooDeep));
    let messages = format!(r#"{{"messages":[{}1]}}"#, "1,".repeat(MESSAGES_MAX));
    assert_eq!(error(&messages), Some(Error::TooManyMessages));
}

#[test]
fn text_that_is_no_utf_8_is_refused() {
    assert_eq!(read(b"{\"model\":\"\xff\"}"), Err(Error::Syntax));
}

#[test]
fn it_accepts_what_another_reader_accepts_and_nothing_else() {
    let check = |body: &[u8]| {
        let theirs = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
        match read(body) {
            Ok(fields) => {
                // Their reader refuses numbers that do not fit and lone surrogates; both are JSON.
                let Ok(theirs) = theirs else { return };
                let model = theirs.get("model").and_then(|model| model.as_str());
                assert_eq!(fields.model.as_deref(), model, "{}", body.escape_ascii());
            }
            Err(Error::Syntax) => assert!(theirs.is_err(), "{}", body.escape_ascii()),
            Err(_) => {}
        }
    };
    for body in
        [r#"{"a":01}"#, r#"{"a":1.}"#, r#"{"a":.5}"#, r#"{"a":1,}"#, r#"{"a":+1}"#, "{\"a\":\"\t\"}", "{} x"]
    {
        assert_eq!(error(body), Some(Error::Syntax), "{body}");
    }
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
    let alphabet = br#"{}[]",:\u0model stream-1e5.true"#;
    bolero::check!().with_type::<Vec<u8>>().for_each(|picks| {
        let body: Vec<u8> = picks.iter().map(|pick| alphabet[usize::from(*pick) % alphabet.len()]).collect();
        check(&body);
    });
}
