//! F04: requests that two readers could read in two ways.

use gpuf_tests::{Kind, MODEL, Request, Scene};

fn cases(key: &str) -> Vec<(&'static str, String)> {
    let body = format!(r#"{{"model":"{MODEL}","messages":[]}}"#);
    let length = body.len();
    let start = "POST /v1/chat/completions HTTP/1.1\r\n";
    let auth = format!("authorization: Bearer {key}\r\ncontent-type: application/json\r\n");
    let head = |rest: &str| format!("{start}host: h\r\n{auth}{rest}");
    let whole = |rest: &str| format!("{}\r\n{body}", head(rest));
    let chunks = |chunks: &str| head(&format!("transfer-encoding: chunked\r\n\r\n{chunks}"));
    let good = format!("content-length: {length}\r\n");
    vec![
        ("a length and chunks", whole(&format!("{good}transfer-encoding: chunked\r\n"))),
        ("chunks and a length", whole(&format!("transfer-encoding: chunked\r\n{good}"))),
        ("two lengths that differ", whole(&format!("{good}content-length: {}\r\n", length + 1))),
        ("a list of lengths", whole(&format!("content-length: {length}, {}\r\n", length + 1))),
        ("a length with a sign", whole(&format!("content-length: +{length}\r\n"))),
        ("a hexadecimal length", whole("content-length: 0x20\r\n")),
        ("a negative length", whole("content-length: -1\r\n")),
        ("an unknown coding", whole("transfer-encoding: xchunked\r\n")),
        ("chunked not last", whole("transfer-encoding: chunked, identity\r\n")),
        ("two codings", whole("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n")),
        ("a chunk size with a prefix", chunks(&format!("0x{length:x}\r\n{body}\r\n0\r\n\r\n"))),
        ("a negative chunk size", chunks(&format!("-{length:x}\r\n{body}\r\n0\r\n\r\n"))),
        ("a chunk size that overflows", chunks(&format!("1{:016x}\r\n{body}\r\n0\r\n\r\n", length))),
        ("a chunk longer than its size", chunks(&format!("{:x}\r\n{body}\r\n0\r\n\r\n", length - 1))),
        ("a chunk line ended by a bare line feed", chunks(&format!("{length:x}\n{body}\r\n0\r\n\r\n"))),
        ("a bare carriage return in a header", whole(&format!("{good}x-a: b\rc\r\n"))),
        ("a header ended by a bare line feed", whole(&format!("{good}x-a: b\nx-b: c\r\n"))),
        ("a folded header", whole(&format!("{good}x-a: b\r\n c\r\n"))),
        ("a NUL in a header", whole(&format!("{good}x-a: b\0c\r\n"))),
        ("a space before the colon", whole(&format!("{good}x-a : b\r\n"))),
        ("a space in a header's name", whole(&format!("{good}x a: b\r\n"))),
        ("no host", format!("{start}{auth}{good}\r\n{body}")),
        ("two hosts", whole(&format!("{good}host: other\r\n"))),
        ("a host with a space", format!("{start}host: a b\r\n{auth}{good}\r\n{body}")),
        ("a host with a path", format!("{start}host: a/b\r\n{auth}{good}\r\n{body}")),
        ("a NUL in the target", format!("POST /v1/chat\0 HTTP/1.1\r\nhost: h\r\n{auth}{good}\r\n{body}")),
    ]
}

#[tokio::test]
async fn f04_an_ambiguous_request_is_refused_whole() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for (name, mut bytes) in cases(&scene.key) {
        // Whoever reads the first request short takes this for a second one.
        bytes.push_str(&String::from_utf8(Request::chat(&scene.key, MODEL, false).bytes()).unwrap());
        let mut connection = scene.gateway.connect().await;
        connection.send(bytes.as_bytes()).await;
        let answer = String::from_utf8_lossy(&connection.read_to_close().await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        scene.assert_engine_untouched();
    }
    scene.assert_serves().await;
}
