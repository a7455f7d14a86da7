//! Rows for people, or JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;
use time::{OffsetDateTime, macros::format_description};

use super::Error;
use crate::store::UnixSeconds;

const GAP: &str = "  ";

/// Columns as wide as their widest cell; the last one is not padded.
fn format(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()))
        .collect();
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Some names come from other machines: a control character must not reach the terminal.
fn plain(cell: &str) -> String {
    cell.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// A table, or a sentence where it would be empty.
pub(super) fn or_sentence(head: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() { format!("{empty}\n") } else { format(head, rows) }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value).map_err(io::Error::from)?;
    Ok(text + "\n")
}

/// A reader that had enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

pub(super) fn moment(at: UnixSeconds) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let moment = OffsetDateTime::from_unix_timestamp(at.0).ok();
    moment.and_then(|moment| moment.format(&format).ok()).unwrap_or_else(|| at.0.to_string())
}

pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_are_shown_as_such() {
        let rows = [vec!["a".to_owned(), "\u{1b}[2Jx".to_owned()], vec!["long".to_owned(), "y".to_owned()]];
        assert_eq!(format(&["ID", "NAME"], &rows), "ID    NAME\na     \u{fffd}[2Jx\nlong  y\n");
    }

    #[test]
    fn moments_are_written_for_people() {
        assert_eq!(moment(UnixSeconds(1_800_000_000)), "2027-01-15 08:00 UTC");
    }
}
