//! HTTP/1.1 from the caller's side on a raw socket: any bytes in any pieces out, and every detail of what
//! comes back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::request::Request;
use crate::sse::{self, Event};
use crate::wait::in_time;

/// Lets a piece leave and arrive by itself before the next one follows.
const BETWEEN_PIECES: Duration = Duration::from_millis(2);

/// A connection to the public or the API port.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Status line and headers of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as sent, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// An answer that was read to its end.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status line and headers.
    pub head: Head,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// The chunks of a chunked body, one by one.
    pub chunks: Vec<Vec<u8>>,
    /// The body came to its proper end: all bytes of its length, the last chunk, or a clean close where the
    /// close is the end. A cut answer is not whole.
    pub whole: bool,
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// The events of the body.
    pub fn events(&self) -> Vec<Event> {
        sse::events(&self.body)
    }

    /// The lines of the body as JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The `code` of an OpenAI error.
    pub fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether it is a cut stream: a last event with an error, no `[DONE]`, no proper end.
    pub fn is_cut(&self) -> bool {
        let events = self.events();
        let told = events.last().is_some_and(|event| event.json().get("error").is_some_and(Value::is_object));
        told && !self.whole && !events.iter().any(Event::is_done)
    }

    /// Whether it is a whole stream of OpenAI's dialect: `[DONE]` once, at the end.
    pub fn is_done(&self) -> bool {
        let events = self.events();
        let done = events.iter().filter(|event| event.is_done()).count();
        self.whole && done == 1 && events.last().is_some_and(Event::is_done)
    }

    /// The text of all tokens of a stream.
    pub fn streamed_text(&self) -> String {
        self.events().iter().filter_map(Event::token).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// What a body gave next.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Data(Vec<u8>),
    End,
    Cut,
}

impl Connection {
    /// Opens one.
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = in_time("a connection", TcpStream::connect(addr)).await.expect("the port accepts");
        Self::over(stream)
    }

    /// Opens one that can hold little unread: its peer soon notices when nobody reads.
    pub async fn open_narrow(addr: SocketAddr, receive_buffer_bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(receive_buffer_bytes).expect("a small receive buffer");
        let stream = in_time("a connection", socket.connect(addr)).await.expect("the port accepts");
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes. A peer that has closed is no error: its answer may be there to be read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = in_time("a write", self.stream.write_all(bytes)).await;
    }

    /// Sends bytes as far as the peer takes them; how many it took.
    pub async fn send_until_refused(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            let room = &bytes[sent..bytes.len().min(sent + 16 * 1024)];
            match in_time("a write", self.stream.write(room)).await {
                Ok(0) | Err(_) => break,
                Ok(some) => sent += some,
            }
        }
        sent
    }

    /// Sends bytes in pieces that arrive one by one.
    pub async fn send_in_pieces(&mut self, pieces: impl IntoIterator<Item = &[u8]>) {
        for piece in pieces {
            self.send(piece).await;
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
    }

    /// Says that nothing more will be sent.
    pub async fn finish_sending(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        self.send(&request.bytes()).await;
        self.answer_to(&request.method).await
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// The next answer; one to `HEAD` has no body.
    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head().await.unwrap_or_else(|| panic!("closed without an answer"));
        let mut body = Body::of(&head, method);
        let mut answer = Answer { head, ..Answer::default() };
        loop {
            match self.piece(&mut body).await {
                Piece::Data(data) => {
                    answer.body.extend_from_slice(&data);
                    if body.framing == Framing::Chunked {
                        answer.chunks.push(data);
                    }
                }
                Piece::End => {
                    answer.whole = true;
                    return answer;
                }
                Piece::Cut => return answer,
            }
        }
    }

    /// The head of the next answer; `None` if the peer closes instead.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(parse_head(&head));
            }
            if self.fill().await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Reads the head of an answer whose body is to be read bit by bit.
    pub async fn into_stream(mut self) -> Stream {
        let head = self.head().await.expect("the head of an answer");
        let body = Body::of(&head, "GET");
        let answer = Answer { head, ..Answer::default() };
        Stream { connection: self, body, answer, reader: sse::Reader::default(), ended: false }
    }

    /// Whether the peer has closed, in whichever way; waits for it.
    pub async fn closed(&mut self) -> bool {
        in_time("a close", async { while self.fill().await.unwrap_or(0) > 0 {} }).await;
        true
    }

    /// Whether the peer closes the connection without sending anything more.
    pub async fn closes_silently(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await.unwrap_or(0) == 0
    }

    /// Reads nothing and gives the socket away.
    pub fn into_socket(self) -> TcpStream {
        self.stream
    }

    /// Everything until the peer closes, without looking at it.
    pub async fn read_to_close(&mut self) -> Vec<u8> {
        in_time("a close", async { while self.fill().await.unwrap_or(0) > 0 {} }).await;
        std::mem::take(&mut self.buffer)
    }

    /// Reads until the peer closes and keeps nothing; how many bytes there were.
    pub async fn drain(&mut self) -> usize {
        let mut bytes = self.buffer.len();
        self.buffer.clear();
        let mut piece = vec![0; 64 * 1024];
        loop {
            match in_time("bytes from the gateway", self.stream.read(&mut piece)).await {
                Ok(0) | Err(_) => return bytes,
                Ok(some) => bytes += some,
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        in_time("bytes from the gateway", self.stream.read_buf(&mut self.buffer)).await
    }

    async fn piece(&mut self, body: &mut Body) -> Piece {
        match body.framing {
            Framing::Length(0) => Piece::End,
            Framing::Length(left) => match self.some_bytes(left).await {
                Some(data) => {
                    body.framing = Framing::Length(left - data.len());
                    Piece::Data(data)
                }
                None => Piece::Cut,
            },
            Framing::Chunked => self.chunk().await,
            Framing::UntilClose => match self.fill_or_buffered().await {
                Ok(0) => Piece::End,
                Ok(_) => Piece::Data(std::mem::take(&mut self.buffer)),
                Err(_) => Piece::Cut,
            },
        }
    }

    async fn fill_or_buffered(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() { self.fill().await } else { Ok(self.buffer.len()) }
    }

    async fn some_bytes(&mut self, at_most: usize) -> Option<Vec<u8>> {
        if self.fill_or_buffered().await.unwrap_or(0) == 0 {
            return None;
        }
        let size = at_most.min(self.buffer.len());
        Some(self.buffer.drain(..size).collect())
    }

    async fn chunk(&mut self) -> Piece {
        let Some(line) = self.line().await else { return Piece::Cut };
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("a chunk of size {line:?}"));
        while self.buffer.len() < size + 2 {
            if self.fill().await.unwrap_or(0) == 0 {
                return Piece::Cut;
            }
        }
        let mut data: Vec<u8> = self.buffer.drain(..size + 2).collect();
        assert!(data.ends_with(b"\r\n"), "a chunk ends with a line end");
        data.truncate(size);
        if size == 0 { Piece::End } else { Piece::Data(data) }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill().await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Body {
    framing: Framing,
}

impl Body {
    fn of(head: &Head, method: &str) -> Self {
        let length = head.header("content-length").and_then(|text| text.parse().ok());
        let framing = if method == "HEAD" || head.status < 200 || matches!(head.status, 204 | 304) {
            Framing::Length(0)
        } else if head.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            Framing::Chunked
        } else {
            length.map_or(Framing::UntilClose, Framing::Length)
        };
        Self { framing }
    }
}

/// An answer that is being read. Dropped, its caller leaves.
#[derive(Debug)]
pub struct Stream {
    connection: Connection,
    body: Body,
    answer: Answer,
    reader: sse::Reader,
    ended: bool,
}

impl Stream {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.answer.head.status
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.head.header(name)
    }

    /// The next event; `None` at the end, whichever it is.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.reader.next_event() {
                return Some(event);
            }
            if !self.read_on().await {
                return None;
            }
        }
    }

    /// The next `count` tokens.
    pub async fn tokens(&mut self, count: usize) -> Vec<String> {
        let mut tokens = Vec::new();
        while tokens.len() < count {
            let event = self.event().await.unwrap_or_else(|| panic!("ended after {tokens:?}"));
            tokens.extend(event.token());
        }
        tokens
    }

    /// Reads until the body holds `text`.
    pub async fn until(&mut self, text: &str) {
        while find(&self.answer.body, text.as_bytes()).is_none() {
            assert!(self.read_on().await, "ended without {text:?}: {}", self.answer.text());
        }
    }

    /// Reads to the end.
    pub async fn rest(mut self) -> Answer {
        while self.read_on().await {}
        self.answer
    }

    /// What was read so far.
    pub fn so_far(&self) -> &Answer {
        &self.answer
    }

    async fn read_on(&mut self) -> bool {
        if self.ended {
            return false;
        }
        match self.connection.piece(&mut self.body).await {
            Piece::Data(data) => {
                self.reader.push(&data);
                self.answer.body.extend_from_slice(&data);
                self.answer.chunks.push(data);
                return true;
            }
            Piece::End => self.answer.whole = true,
            Piece::Cut => {}
        }
        self.ended = true;
        false
    }
}

fn parse_head(bytes: &[u8]) -> Head {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Head { status, headers }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
