//! One complete head: every line of it, and how its body ends.

use super::{Framing, HEADERS_MAX, HeadLimits, LINE_BYTES_MAX, Refusal};

/// Refuses bare CR, bare LF and NUL, wherever they are. The last byte may be a CR whose LF is to come.
pub fn check_bytes(head: &[u8]) -> Result<(), Refusal> {
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &head[at..]) {
        let (byte, next) = (head[at + found], head.get(at + found + 1));
        if byte != b'\r' || next.is_some_and(|&next| next != b'\n') {
            return Err(Refusal::Malformed);
        }
        at = (at + found + 2).min(head.len());
    }
    Ok(())
}

/// Checks a head that ends with an empty line.
pub fn check(head: &[u8], limits: HeadLimits) -> Result<Framing, Refusal> {
    check_bytes(head)?;
    let mut lines = head[..head.len() - 4].split(|&byte| byte == b'\n').map(without_cr);
    let request_line = lines.next().ok_or(Refusal::Malformed)?;
    let version = check_request_line(request_line, limits)?;
    if head.len() > limits.bytes_max {
        return Err(Refusal::HeadTooLarge);
    }
    let mut fields = Fields::default();
    for line in lines {
        fields.take(line)?;
    }
    fields.framing(version)
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn check_request_line(line: &[u8], limits: HeadLimits) -> Result<Version, Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Malformed);
    };
    if target.len() > limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::Malformed);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Refusal::Malformed),
    }
}

#[derive(Default)]
struct Fields {
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > HEADERS_MAX || line.len() > LINE_BYTES_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        // A line that begins with a space continues the one before, in the eyes of some.
        let colon = memchr::memchr(b':', line).ok_or(Refusal::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(Refusal::Malformed);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.take_host(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.take_coding(value),
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.hosts += 1;
        let listed = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_~:[]%".contains(byte);
        if value.iter().all(listed) { Ok(()) } else { Err(Refusal::Malformed) }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let digits =
            std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok()).ok_or(Refusal::Malformed)?;
        if self.length.replace(length).is_some() { Err(Refusal::Malformed) } else { Ok(()) }
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Malformed);
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        let host_is_clear = match version {
            Version::Http11 => self.hosts == 1,
            Version::Http10 => self.hosts <= 1 && !self.chunked,
        };
        match (host_is_clear, self.chunked, self.length) {
            (false, ..) | (true, true, Some(_)) => Err(Refusal::Malformed),
            (true, true, None) => Ok(Framing::Chunked),
            (true, false, Some(bytes)) => Ok(Framing::Length(bytes)),
            (true, false, None) => Ok(Framing::None),
        }
    }
}

fn is_token(name: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_tchar)
}
