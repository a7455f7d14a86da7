//! Engines that only promise OpenAI's dialect, and the list of models that most kinds share.

use std::collections::BTreeSet;

use common::{Dialect, Endpoint, EndpointSet, ModelReport, engine::MODELS_PER_ENGINE_MAX};
use serde::Deserialize;
use tracing::debug;

use super::{
    client::{Client, Error},
    survey::{Facts, SLOTS_UNTOLD},
};

/// `/v1/models`, with what the kinds add to it.
#[derive(Debug, Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    /// vLLM and SGLang.
    max_model_len: Option<u32>,
}

/// Whatever speaks the dialect.
pub async fn recognise(client: &mut Client) -> Result<bool, Error> {
    match client.get("/v1/models").await?.json::<List>() {
        Ok(_) => Ok(true),
        Err(Error::Status { .. } | Error::Json { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// All that the dialect has: an endpoint that the engine lacks answers 404, which the caller sees.
pub fn facts() -> Facts {
    facts_with(of_dialect(Dialect::OpenAi))
}

/// Every endpoint of every dialect.
pub fn facts_of_everything() -> Facts {
    facts_with(EndpointSet::of(Endpoint::ALL))
}

fn facts_with(endpoints: EndpointSet) -> Facts {
    Facts { version: None, endpoints, slots: SLOTS_UNTOLD, context_tokens: None, waiting_at: None }
}

fn of_dialect(dialect: Dialect) -> EndpointSet {
    let members = Endpoint::ALL.iter().filter(|endpoint| endpoint.dialect() == dialect);
    members.fold(EndpointSet::default(), |set, endpoint| set.union(EndpointSet::of(&[*endpoint])))
}

/// The models at `/v1/models`.
pub async fn models(client: &mut Client) -> Result<Vec<ModelReport>, Error> {
    let list: List = client.get("/v1/models").await?.json()?;
    Ok(reports(list.data, |listed| {
        let mut report = named(&listed.id)?;
        report.context_tokens = listed.max_model_len;
        Some(report)
    }))
}

/// A report on a model of that name, if it is one that can cross the tunnel.
pub fn named(name: &str) -> Option<ModelReport> {
    name.parse().map(ModelReport::named).ok()
}

/// Reports on `listed`, each model once, as many as a report may hold, in a fixed order.
pub fn reports<L>(listed: Vec<L>, report: impl Fn(L) -> Option<ModelReport>) -> Vec<ModelReport> {
    let count = listed.len();
    let mut seen = BTreeSet::new();
    let mut reports: Vec<_> = listed
        .into_iter()
        .filter_map(report)
        .filter(|report| seen.insert(report.name.clone()))
        .take(MODELS_PER_ENGINE_MAX)
        .collect();
    if reports.len() < count {
        debug!(left_out = count - reports.len(), "models with unusable or repeated names are left out");
    }
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    reports
}

/// Seconds since the Unix epoch of a time as RFC 3339 writes it; fractions are dropped.
pub fn unix_seconds(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = rest.get(..8)?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds - offset_seconds(&rest[8..])?).ok()
}

/// What follows the seconds: a fraction perhaps, then `Z` or `+hh:mm`.
fn offset_seconds(text: &str) -> Option<i64> {
    let zone = text.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let (sign, rest) = match zone.as_bytes().first()? {
        b'Z' | b'z' => return Some(0),
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. March is taken for the first month, so
/// that the leap day is the last of its year.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_cross_the_tunnel_are_left_out_and_doubles_are_one() {
        let names = vec!["b", "../etc", "a", "b", "with space"];
        let reports = reports(names, named);
        assert_eq!(reports.iter().map(|report| report.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn times_with_and_without_an_offset_are_read() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_seconds("2024-02-29T12:34:56.789012345-07:00"), Some(1_709_235_296));
        assert_eq!(unix_seconds("2026-01-02T03:04:05+05:30"), Some(1_767_303_245));
        for text in
            ["", "2024", "2024-01-01", "2024-01-01T00:00", "2024-01-01T00:00:00", "1969-12-31T00:00:00Z"]
        {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }
}
