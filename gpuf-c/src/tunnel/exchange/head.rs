//! Heads of requests and answers.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response};

use super::{Error, Outgoing, Reader};

const HEADERS_MAX: usize = 128;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What is known of a request body's length.
#[derive(Debug, Clone, Copy)]
pub enum BodyLength {
    /// All of it is there.
    Known(usize),
    /// As the request's own headers say, or chunked.
    Unknown,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Answered {
    /// Status and headers.
    pub parts: response::Parts,
    /// How the body ends.
    pub reader: Reader,
    /// Whether the engine keeps the connection open after it.
    pub keep_alive: bool,
}

/// The head of a request, ready to be written.
pub fn encode(request: &Outgoing<'_>, length: BodyLength) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    head.extend_from_slice(request.method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(request.target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers {
        if matches!(length, BodyLength::Known(_)) && name == header::CONTENT_LENGTH {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    match length {
        BodyLength::Known(bytes) => head.extend_from_slice(format!("content-length: {bytes}\r\n").as_bytes()),
        BodyLength::Unknown if request.headers.contains_key(header::CONTENT_LENGTH) => {}
        BodyLength::Unknown => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Takes the head of an answer from the front of `buffer`, once it is all there.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Answered>, Error> {
    loop {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut slots);
        let status = parsed.parse(buffer).map_err(|_| Error::BadAnswer)?;
        let httparse::Status::Complete(bytes) = status else {
            return if buffer.len() > HEAD_BYTES_MAX { Err(Error::BadAnswer) } else { Ok(None) };
        };
        let answered = read(&parsed)?;
        buffer.advance(bytes);
        // 100 Continue and its like come before the answer; an upgrade was not asked for.
        if answered.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::BadAnswer);
        }
        if !answered.parts.status.is_informational() {
            return Ok(Some(answered));
        }
    }
}

fn read(parsed: &httparse::Response<'_, '_>) -> Result<Answered, Error> {
    let mut response = Response::new(());
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Error::BadAnswer)?;
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Error::BadAnswer)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Error::BadAnswer)?;
        headers.append(name, value);
    }
    let reader = body_of(status, headers)?;
    let keep_alive = parsed.version == Some(1) && !says_close(headers);
    Ok(Answered { parts: response.into_parts().0, reader, keep_alive })
}

/// How the body ends (RFC 9112, section 6.3); an answer that says it in two ways is refused.
fn body_of(status: StatusCode, headers: &HeaderMap) -> Result<Reader, Error> {
    if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Reader::ended());
    }
    let lengths: Vec<_> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
    let coding = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
    match (coding, lengths.as_slice()) {
        (Some(_), [_, ..]) | (None, [_, _, ..]) => Err(Error::BadAnswer),
        (Some(coding), []) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Reader::chunked()),
        (Some(_), []) => Err(Error::BadAnswer),
        (None, [length]) => {
            let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let bytes = digits.and_then(|digits| digits.parse().ok()).ok_or(Error::BadAnswer)?;
            Ok(Reader::length(bytes))
        }
        (None, []) => Ok(Reader::until_close()),
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}
