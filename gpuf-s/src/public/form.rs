//! The `model` field of a multipart form, for audio and image endpoints.

use memchr::memmem;

use super::fields::Error;

/// Parts of one form.
const PARTS_MAX: usize = 256;

/// What routing needs to know of a form.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Form<'a> {
    /// `model`.
    pub model: Option<&'a str>,
    /// `stream`.
    pub stream: bool,
}

/// Reads a form; `content_type` tells its boundary.
///
/// # Errors
/// When it is no form, or `model` occurs twice.
pub fn read<'a>(content_type: &str, body: &'a [u8]) -> Result<Form<'a>, Error> {
    let boundary = boundary(content_type).ok_or(Error::Syntax)?;
    let delimiter = format!("--{boundary}");
    let separator = format!("\r\n{delimiter}");
    let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or(Error::Syntax)?;
    let mut form = Form::default();
    for _ in 0..PARTS_MAX {
        if rest.starts_with(b"--") {
            return Ok(form);
        }
        let part = rest.strip_prefix(b"\r\n").ok_or(Error::Syntax)?;
        let end = memmem::find(part, separator.as_bytes()).ok_or(Error::Syntax)?;
        take(&part[..end], &mut form)?;
        rest = &part[end + separator.len()..];
    }
    Err(Error::Syntax)
}

fn take<'a>(part: &'a [u8], form: &mut Form<'a>) -> Result<(), Error> {
    let blank = memmem::find(part, b"\r\n\r\n").ok_or(Error::Syntax)?;
    let head = std::str::from_utf8(&part[..blank]).map_err(|_| Error::Syntax)?;
    let value = &part[blank + 4..];
    match field_name(head) {
        Some("model") => {
            let model = std::str::from_utf8(value).map_err(|_| Error::Type("model"))?;
            if form.model.replace(model).is_some() { Err(Error::Duplicate("model")) } else { Ok(()) }
        }
        Some("stream") => {
            form.stream = value.eq_ignore_ascii_case(b"true");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn field_name(head: &str) -> Option<&str> {
    let is_disposition =
        |line: &&str| line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:"));
    let disposition = head.split("\r\n").find(is_disposition)?;
    let name = disposition.split(';').find_map(|item| item.trim().strip_prefix("name="))?;
    Some(name.trim_matches('"'))
}

fn boundary(content_type: &str) -> Option<&str> {
    let mut items = content_type.split(';').map(str::trim);
    items.next().filter(|essence| essence.eq_ignore_ascii_case("multipart/form-data"))?;
    let is_boundary = |item: &&str| item.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("boundary="));
    let boundary = items.find(is_boundary)?[9..].trim_matches('"');
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"xyz\"";

    fn body(fields: &[(&str, &str)]) -> Vec<u8> {
        let part = |(name, value): &(&str, &str)| {
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let parts: String = fields.iter().map(part).collect();
        format!("{parts}--xyz--\r\n").into_bytes()
    }

    #[test]
    fn the_model_is_found_beside_a_file() {
        let body = body(&[("file", "RIFF\r\n--xy\r\n"), ("model", "whisper-1"), ("stream", "true")]);
        assert_eq!(read(TYPE, &body), Ok(Form { model: Some("whisper-1"), stream: true }));
    }

    #[test]
    fn two_models_are_refused() {
        assert_eq!(read(TYPE, &body(&[("model", "a"), ("model", "b")])), Err(Error::Duplicate("model")));
    }

    #[test]
    fn a_form_cut_anywhere_is_refused_and_never_read_wrongly() {
        let whole = body(&[("model", "whisper-1"), ("file", "x")]);
        for cut in 0..whole.len() - 4 {
            assert_eq!(read(TYPE, &whole[..cut]), Err(Error::Syntax), "cut at {cut}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        bolero::check!().with_type::<(String, Vec<u8>)>().for_each(|(content_type, bytes)| {
            let _ = read(content_type, bytes);
            let _ = read(TYPE, &[b"--xyz\r\n", bytes.as_slice()].concat());
        });
    }
}
