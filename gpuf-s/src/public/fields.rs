//! The few fields of a JSON request that routing needs, read without building the rest.
//!
//! The body goes to the engine as it came, so what is read here must be what any JSON reader sees: a
//! field that occurs twice, or text that some readers accept and others do not, is refused.

use std::borrow::Cow;

/// Nesting of arrays and objects.
const DEPTH_MAX: usize = 128;
/// Entries of `messages`.
const MESSAGES_MAX: usize = 8192;

/// What routing needs to know of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `model`.
    pub model: Option<Cow<'a, str>>,
    /// `stream`.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    /// Where the value of `include_usage` is, and how many bytes it has.
    pub include_usage_at: Option<(usize, usize)>,
    /// Where `stream_options`' own fields begin, if it is there and an object.
    pub stream_options_at: Option<usize>,
    /// Where `stream_options` is, if it is `null`.
    pub null_options_at: Option<usize>,
    /// Whether `stream_options` is there and has no fields.
    pub stream_options_is_empty: bool,
    /// Where the request's own fields begin.
    pub fields_at: usize,
    /// Whether the request has no fields.
    pub is_empty: bool,
}

/// Why a body is not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or JSON that readers disagree about.
    #[error("the request body is not valid JSON")]
    Syntax,
    /// Deeper than anybody needs.
    #[error("the request body is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// Not an object.
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// A field that decides where the request goes occurs twice.
    #[error("the field '{0}' occurs more than once")]
    Duplicate(&'static str),
    /// A field has another type than it must.
    #[error("the field '{0}' has the wrong type")]
    Type(&'static str),
    /// More messages than allowed.
    #[error("more than {MESSAGES_MAX} messages")]
    TooManyMessages,
}

impl Error {
    /// The field to blame.
    pub const fn param(self) -> Option<&'static str> {
        match self {
            Self::Duplicate(field) | Self::Type(field) => Some(field),
            Self::TooManyMessages => Some("messages"),
            Self::Syntax | Self::TooDeep | Self::NotAnObject => None,
        }
    }
}

/// Reads a whole body.
///
/// # Errors
/// When it is no JSON object, or its routing fields are not clear.
pub fn read(body: &[u8]) -> Result<Fields<'_>, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::Syntax)?;
    let mut scanner = Scanner { text, bytes: body, at: 0 };
    scanner.space();
    if scanner.peek() != Some(b'{') {
        scanner.value(0)?;
        return Err(Error::NotAnObject);
    }
    let mut fields = Fields { fields_at: scanner.at + 1, is_empty: true, ..Fields::default() };
    let mut seen = Seen::default();
    scanner.object(0, |scanner, key| {
        fields.is_empty = false;
        take(scanner, key, &mut fields, &mut seen)
    })?;
    scanner.space();
    if scanner.at == body.len() { Ok(fields) } else { Err(Error::Syntax) }
}

#[derive(Default)]
struct Seen {
    stream_options: bool,
    messages: bool,
}

fn take<'a>(
    scanner: &mut Scanner<'a>,
    key: &str,
    fields: &mut Fields<'a>,
    seen: &mut Seen,
) -> Result<(), Error> {
    match key {
        "model" => {
            let model = scanner.typed(b'"', "model", Scanner::string)?;
            once(&mut fields.model, model, "model")
        }
        "stream" => {
            let stream = scanner.boolean("stream")?;
            stream.map_or(Ok(()), |stream| once(&mut fields.stream, stream, "stream"))
        }
        "stream_options" => {
            if std::mem::replace(&mut seen.stream_options, true) {
                return Err(Error::Duplicate("stream_options"));
            }
            stream_options(scanner, fields)
        }
        "messages" => {
            if std::mem::replace(&mut seen.messages, true) {
                return Err(Error::Duplicate("messages"));
            }
            let count = scanner.typed(b'[', "messages", |scanner| scanner.array(1))?;
            if count > MESSAGES_MAX { Err(Error::TooManyMessages) } else { Ok(()) }
        }
        _ => scanner.value(1),
    }
}

fn once<T>(field: &mut Option<T>, value: T, name: &'static str) -> Result<(), Error> {
    if field.replace(value).is_some() { Err(Error::Duplicate(name)) } else { Ok(()) }
}

fn stream_options<'a>(scanner: &mut Scanner<'a>, fields: &mut Fields<'a>) -> Result<(), Error> {
    if scanner.peek() == Some(b'n') {
        fields.null_options_at = Some(scanner.at);
        return scanner.value(1);
    }
    if scanner.peek() != Some(b'{') {
        return Err(Error::Type("stream_options"));
    }
    fields.stream_options_at = Some(scanner.at + 1);
    fields.stream_options_is_empty = true;
    let mut include = None;
    scanner.object(1, |scanner, key| {
        fields.stream_options_is_empty = false;
        if key != "include_usage" {
            return scanner.value(2);
        }
        let at = scanner.at;
        let value = scanner.boolean("stream_options")?.unwrap_or(false);
        fields.include_usage_at = Some((at, scanner.at - at));
        once(&mut include, value, "stream_options")
    })?;
    fields.include_usage = include;
    Ok(())
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(Error::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn typed<T>(
        &mut self,
        first: u8,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.peek() == Some(first) {
            return read(self);
        }
        self.value(1)?;
        Err(Error::Type(name))
    }

    /// `null` is as good as absent.
    fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Error> {
        let first = self.peek();
        self.value(2)?;
        match first {
            Some(b't') => Ok(Some(true)),
            Some(b'f') => Ok(Some(false)),
            Some(b'n') => Ok(None),
            _ => Err(Error::Type(name)),
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Error> {
        match self.peek() {
            Some(b'{') => self.object(depth, |scanner, _| scanner.value(depth + 1)),
            Some(b'[') => self.array(depth).map(drop),
            Some(b'"') => self.raw_string().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Error::Syntax),
        }
    }

    /// An object; the scanner stands at its `{`. `each` reads the value of one key.
    fn object(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.enter(depth)?;
        if self.leave(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            each(self, &key)?;
            if !self.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// An array; the scanner stands at its `[`. How many entries it has.
    fn array(&mut self, depth: usize) -> Result<usize, Error> {
        self.enter(depth)?;
        if self.leave(b']') {
            return Ok(0);
        }
        let mut count = 0;
        loop {
            self.space();
            self.value(depth + 1)?;
            count += 1;
            if !self.more(b']')? {
                return Ok(count);
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), Error> {
        if depth >= DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn leave(&mut self, end: u8) -> bool {
        let ends = self.peek() == Some(end);
        self.at += usize::from(ends);
        ends
    }

    /// Whether another entry follows.
    fn more(&mut self, end: u8) -> Result<bool, Error> {
        self.space();
        if self.leave(end) {
            return Ok(false);
        }
        self.expect(b',').map(|()| true)
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(Error::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(Error::Syntax),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from { Err(Error::Syntax) } else { Ok(()) }
    }

    /// The text of a string, escapes resolved.
    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        let (from, to) = self.raw_string()?;
        let raw = &self.text[from..to];
        let inner = &raw[1..raw.len() - 1];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        // A key written with escapes is the same key to every JSON reader.
        serde_json::from_str(raw).map(Cow::Owned).map_err(|_| Error::Syntax)
    }

    /// Where a string begins and ends, quotes included.
    fn raw_string(&mut self) -> Result<(usize, usize), Error> {
        let from = self.at;
        self.expect(b'"')?;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ');
            self.at += plain.ok_or(Error::Syntax)?;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((from, self.at));
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(Error::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Error> {
        let after = self.bytes.get(self.at + 1).copied().ok_or(Error::Syntax)?;
        match after {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).ok_or(Error::Syntax)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Error::Syntax);
                }
                self.at += 6;
            }
            _ => return Err(Error::Syntax),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
