//! Forms: the model is a field among others, and the body passes as it is.

use gpuf_tests::{Kind, MODEL, Request, Scene};

const BOUNDARY: &str = "----form-boundary-7";

fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, more, value) in parts {
        let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn transcription(key: &str, body: Vec<u8>) -> Request {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    Request::post("/v1/audio/transcriptions").key(key).header("content-type", &kind).body(body)
}

#[tokio::test]
async fn the_model_of_a_form_is_found_wherever_it_stands() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let sound: Vec<u8> = (0..200_000_u32).map(|byte| (byte % 256) as u8).collect();
    let file = ("file", "; filename=\"a.wav\"\r\ncontent-type: audio/wav", sound.as_slice());
    let model = ("model", "", MODEL.as_bytes());
    let language = ("language", "", "en".as_bytes());
    for parts in [vec![model, file], vec![file, model], vec![language, file, model]] {
        let body = form(&parts);
        let answer = scene.ask(&transcription(&scene.key, body.clone())).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.json()["text"].is_string());
        let seen = scene.ledger().requests().pop().unwrap();
        assert_eq!(seen.body_len, body.len() as u64);
        assert!(body.starts_with(&seen.body), "the form is changed");
        assert!(seen.header("content-type").is_some_and(|kind| kind.contains(BOUNDARY)));
    }
}

#[tokio::test]
async fn a_form_without_its_model_is_refused() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let fake = format!("--{BOUNDARY}x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n");
    let cases = [
        ("no model", form(&[("language", "", b"en")])),
        ("a model inside a file", form(&[("file", "; filename=\"a\"", fake.as_bytes())])),
        ("two models", form(&[("model", "", b"m"), ("model", "", b"other")])),
        ("an empty model", form(&[("model", "", b"")])),
        ("no form", b"model=m".to_vec()),
        ("half a form", form(&[("model", "", b"m")])[..60].to_vec()),
    ];
    for (name, body) in cases {
        let answer = scene.ask(&transcription(&scene.key, body)).await;
        assert_eq!(answer.status(), 400, "{name}: {}", answer.text());
    }
    let unknown = scene.ask(&transcription(&scene.key, form(&[("model", "", b"absent")]))).await;
    assert_eq!(unknown.status(), 404, "{}", unknown.text());
    scene.assert_engine_untouched();
}
