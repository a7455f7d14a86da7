//! HTTP/2 from the caller's side, in clear by prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use tokio::net::TcpStream;

use crate::connection::{Answer, Head};
use crate::request::Request;
use crate::wait::in_time;

/// One connection.
#[derive(Debug)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<()>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With END_STREAM.
    Whole,
    /// With RST_STREAM, or with the connection.
    Reset(Option<Reason>),
}

impl Http2 {
    /// Opens one.
    pub async fn open(addr: SocketAddr) -> Self {
        let tcp = in_time("a connection", TcpStream::connect(addr)).await.expect("the port accepts");
        let (send, connection) =
            in_time("an HTTP/2 handshake", h2::client::handshake(tcp)).await.expect("HTTP/2");
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, connection }
    }

    /// Starts a request; its body is sent whole.
    pub async fn start(&mut self, request: &Request) -> ResponseFuture {
        let uri = format!("http://gateway.test{}", request.target);
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let head = builder.body(()).expect("a request");
        in_time("room for a stream", std::future::poll_fn(|context| self.send.poll_ready(context)))
            .await
            .expect("a live connection");
        let (answer, mut body) = self.send.send_request(head, request.body.is_empty()).expect("a stream");
        if !request.body.is_empty() {
            body.send_data(Bytes::from(request.body.clone()), true).expect("a body");
        }
        answer
    }

    /// Sends a request and reads its answer to the end.
    pub async fn ask(&mut self, request: &Request) -> (Answer, End) {
        let answer = self.start(request).await;
        let answer = in_time("an answer", answer).await.expect("an answer");
        let head = head_of(&answer);
        let mut body = answer.into_body();
        let mut answer = Answer { head, ..Answer::default() };
        let end = read_to_end(&mut body, &mut answer.body).await;
        answer.whole = end == End::Whole;
        (answer, end)
    }
}

/// Status and headers of an HTTP/2 answer.
pub fn head_of<B>(answer: &http::Response<B>) -> Head {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers =
        answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Head { status: answer.status().as_u16(), headers }
}

/// Reads a body to its end.
pub async fn read_to_end(body: &mut RecvStream, into: &mut Vec<u8>) -> End {
    while let Some(data) = in_time("bytes from the gateway", body.data()).await {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                into.extend_from_slice(&data);
            }
            Err(error) => return End::Reset(error.reason()),
        }
    }
    End::Whole
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
