//! Server-sent events as a caller reads them.

use serde_json::Value;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field.
    pub name: Option<String>,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
    /// Comment lines before or in it, without the colon.
    pub comments: Vec<String>,
}

impl Event {
    /// The data as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    /// Whether it is OpenAI's end of stream.
    pub fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }

    /// The text that this event adds to an answer, in any dialect that streams events.
    pub fn token(&self) -> Option<String> {
        let json = self.json();
        let places = ["/choices/0/delta/content", "/choices/0/text", "/delta/text", "/delta"];
        let text = places.iter().find_map(|place| json.pointer(place).and_then(Value::as_str));
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn is_empty(&self) -> bool {
        self.name.is_none() && self.data.is_empty() && self.comments.is_empty()
    }
}

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Reader {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                self.has_data = false;
                let event = std::mem::take(&mut self.event);
                if !event.is_empty() {
                    return Some(event);
                }
            } else {
                self.take_line(line);
            }
        }
        None
    }

    /// What is left and belongs to no whole event.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    fn take_line(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.event.comments.push(value.to_owned()),
            "event" => self.event.name = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            _ => {}
        }
    }
}

/// All events of a whole body.
pub fn events(body: &[u8]) -> Vec<Event> {
    let mut reader = Reader::default();
    reader.push(body);
    std::iter::from_fn(|| reader.next_event()).collect()
}
