//! What the sources say, read from their text: tables that exist at compile time only.

use std::fs;

use http::StatusCode;

use super::root;

fn source(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Without its tests.
fn production(path: &str) -> String {
    let text = source(path);
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A row of the table of limits.
pub struct Limit {
    /// Its key in the file.
    pub key: String,
    /// Its default, with its unit.
    pub default: String,
    /// Its description.
    pub what: String,
}

/// The table in `config/limits.rs`: a comment, then `key => field = ms;` or `key = default in min ..= max;`.
pub fn limits() -> Vec<Limit> {
    let text = source("gpuf-s/src/config/limits.rs");
    let table = text.split("\nlimits! {").nth(1).expect("the table of limits");
    let mut limits = Vec::new();
    let mut what = String::new();
    for line in table.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            what.push_str(comment);
        } else if let Some((key, value)) = line.trim_end_matches(';').split_once('=') {
            let milliseconds = value.strip_prefix("> ").and_then(|field| field.split_once("= "));
            let default = match milliseconds {
                Some((_, number)) => duration(number),
                None => plain(value.split(" in ").next().unwrap()),
            };
            limits.push(Limit { key: key.trim().to_owned(), default, what: std::mem::take(&mut what) });
        }
    }
    limits
}

fn plain(number: &str) -> String {
    number.trim().replace('_', "")
}

/// Milliseconds, and what they are for people.
fn duration(number: &str) -> String {
    let ms: u64 = plain(number).parse().unwrap();
    let people = match ms {
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => return ms.to_string(),
    };
    format!("{ms} ({people})")
}

/// The string literals that follow one of these directly, or stand at the beginning of a line for `""`.
pub fn literals_after(path: &str, before: &[&str]) -> Vec<String> {
    let text = production(path);
    let pieces: Vec<_> = text.split('"').collect();
    let follows = |lead: &str| {
        before.iter().any(|mark| {
            if mark.is_empty() { lead.trim_end_matches(' ').ends_with('\n') } else { lead.ends_with(mark) }
        })
    };
    let pairs = pieces.chunks_exact(2);
    pairs.filter(|pair| follows(pair[0])).map(|pair| pair[1].to_owned()).collect()
}

/// Method, path and who may use it, of every row of `ROUTES`.
pub fn management_routes() -> Vec<(String, String, String)> {
    let text = production("gpuf-s/src/api/routes.rs");
    let row = |line: &str| {
        let who = line.split_once("(\"").map(|(who, _)| who)?;
        let listed = ["open", "tenant", "admin"].contains(&who);
        let parts: Vec<_> = line.split('"').collect();
        listed.then(|| (parts[1].to_owned(), parts[3].to_owned(), who.to_owned()))
    };
    text.lines().map(str::trim).filter_map(row).collect()
}

/// Status, code, and the types of OpenAI and Anthropic, of every rejection.
pub fn rejections() -> Vec<[String; 4]> {
    let text = production("gpuf-s/src/error.rs");
    let (openai, anthropic) = (kinds(&text, "openai"), kinds(&text, "anthropic"));
    let row = |status: u16, kind: &str, code: &str| {
        let name = |kinds: &[(String, String)]| {
            kinds.iter().find(|(known, _)| known == kind).unwrap_or_else(|| panic!("kind {kind}")).1.clone()
        };
        [status.to_string(), code.to_owned(), name(&openai), name(&anthropic)]
    };
    let mut rows = Vec::new();
    for call in calls(&text, "::new(") {
        let [status, kind, code, ..] = call.as_slice() else { continue };
        if let (Some(code), Some(kind)) = (literal(code), kind.strip_prefix("Kind::")) {
            rows.push(row(status_named(status), kind, code));
        }
    }
    // The shorthand for a wrong request.
    for call in calls(&text, " bad(") {
        rows.extend(call.first().and_then(|code| literal(code)).map(|code| row(400, "InvalidRequest", code)));
    }
    rows
}

/// Status and code of everything that the management API says.
pub fn management_errors() -> Vec<[String; 2]> {
    let text = production("gpuf-s/src/api/error.rs");
    let named = text.split("StatusCode::").skip(1).filter_map(|rest| {
        let (status, rest) = rest.split_once(',')?;
        let code = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        Some([status_named(status).to_string(), code.to_owned()])
    });
    named.collect()
}

/// The columns of a table, in their order.
pub fn columns(table: &str) -> Vec<String> {
    let text = source("migrations/sqlite/0001_initial.sql");
    let body =
        text.split(&format!("CREATE TABLE {table} (")).nth(1).and_then(|rest| rest.split("\n)").next());
    let lines = body.expect("the table").lines().map(str::trim).filter(|line| !line.is_empty());
    let columns = lines.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "CHECK");
    columns.map(str::to_owned).collect()
}

/// The arguments of every call of what ends in `mark`.
fn calls(text: &str, mark: &str) -> Vec<Vec<String>> {
    text.match_indices(mark).map(|(at, _)| arguments(&text[at + mark.len()..])).collect()
}

/// Arguments up to the closing parenthesis, split at their commas.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut arguments) = (0, false, vec![String::new()]);
    for char in text.chars() {
        match char {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(char);
    }
    arguments.into_iter().map(|argument| argument.trim().to_owned()).collect()
}

fn literal(argument: &str) -> Option<&str> {
    argument.strip_prefix('"')?.strip_suffix('"')
}

/// The number of a status that is written as a constant.
fn status_named(constant: &str) -> u16 {
    let name = constant.rsplit("::").next().unwrap();
    let is_it = |code: &u16| {
        let status = StatusCode::from_u16(*code).unwrap();
        status.canonical_reason().is_some_and(|reason| reason.to_uppercase().replace(' ', "_") == name)
    };
    (400..600).find(is_it).unwrap_or_else(|| panic!("{constant} is no status"))
}

/// Variant and text of every arm of a function of `Kind`.
fn kinds(text: &str, function: &str) -> Vec<(String, String)> {
    let body = text.split(&format!("pub const fn {function}(")).nth(1).expect("a function of Kind");
    let body = body.split("pub const fn").next().unwrap().split("\nimpl").next().unwrap();
    let pieces: Vec<_> = body.split('"').collect();
    let mut kinds = Vec::new();
    for pair in pieces.chunks_exact(2) {
        let names = pair[0].split("Self::").skip(1);
        let name = |rest: &str| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        kinds.extend(names.map(|rest| (name(rest), pair[1].to_owned())));
    }
    kinds
}

#[test]
fn arguments_are_split_at_their_own_commas() {
    assert_eq!(arguments("S::A, f(b, c), \"d, e)\") g"), ["S::A", "f(b, c)", "\"d, e)\""]);
    assert_eq!(status_named("S::URI_TOO_LONG"), 414);
}
