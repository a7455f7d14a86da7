//! The client against peers that behave, and others.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::engine::fake::Setup;

fn client_of(address: SocketAddr) -> Client {
    Client::new(address.to_string().parse().unwrap())
}

#[tokio::test]
async fn one_connection_carries_many_questions() {
    let fake = Setup::new().on("GET /version", 200, r#"{"version":"1"}"#).start().await;
    let mut client = client_of(fake.address);
    for _ in 0..3 {
        assert!(client.get("/version").await.unwrap().status.is_success());
    }
    assert_eq!((client.connects(), client.address()), (1, Some(fake.address)));
    assert_eq!(client.get("/x").await.unwrap().status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_peer_that_closes_after_each_answer_is_asked_on_fresh_connections() {
    let fake = Setup::new().closing().on("GET /a", 200, "yes").start().await;
    let mut client = client_of(fake.address);
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.unwrap().text().unwrap(), "yes");
    }
    assert_eq!(fake.asked().len(), 3);
    assert_eq!(client.connects(), 3);
}

#[tokio::test]
async fn a_connection_that_died_meanwhile_is_replaced_without_a_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = client_of(listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let begun = std::time::Instant::now();
    for count in 1..=3 {
        assert_eq!(client.get("/").await.unwrap().text().unwrap(), "ok");
        assert_eq!(client.connects(), count);
    }
    assert!(begun.elapsed() < ANSWER_TIMEOUT);
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = client_of(address).get("/").await;
    assert!(matches!(silent, Err(Error::Timeout)));
    drop(listener);
    let refused = client_of(address).get("/").await.err().unwrap();
    assert!(refused.is_refusal(), "{refused}");
}

#[tokio::test]
async fn what_is_no_http_and_what_never_ends_are_errors() {
    async fn answered_with(bytes: Vec<u8>) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // What is closed with something unread in it takes back what it has sent.
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(&bytes).await;
            }
        });
        let error = client_of(address).get("/").await.err().unwrap();
        peer.abort();
        error
    }
    assert!(matches!(answered_with(b"SSH-2.0-x\r\n\r\n".to_vec()).await, Error::Http(_)));
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; 2 << 20]].concat();
    assert!(matches!(answered_with(endless).await, Error::TooLong));
}

#[tokio::test]
async fn an_engine_that_wants_a_key_is_recognised_as_such() {
    let fake = Setup::new().otherwise(401, r#"{"error":"Unauthorized"}"#).start().await;
    let answer = client_of(fake.address).get("/v1/models").await.unwrap();
    assert!(matches!(answer.text(), Err(Error::Locked)));
}
