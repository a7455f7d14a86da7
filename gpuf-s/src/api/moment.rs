//! Moments and days as they are read and written here: RFC 3339, UTC.

use std::str::FromStr;

use serde::Deserialize;
use time::{
    Date, OffsetDateTime, UtcOffset,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

use crate::store::UnixSeconds;

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// The present.
pub(super) fn now() -> String {
    written(OffsetDateTime::now_utc())
}

/// The present, milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).unwrap_or_default()
}

/// A moment of the store; none where it is beyond the calendar.
pub(super) fn of_ms(unix_ms: u64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok().map(written)
}

/// Likewise.
pub(super) fn of_seconds(at: UnixSeconds) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(at.0).ok().map(written)
}

/// To the millisecond: nobody reads more.
fn written(moment: OffsetDateTime) -> String {
    let whole = moment.replace_millisecond(moment.millisecond()).unwrap_or(moment);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// A moment that was asked for: RFC 3339, or a day, which is its first moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct When(OffsetDateTime);

/// Text that is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as 2027-01-15T08:00:00Z or 2027-01-15, from 1970 to 9999")]
pub(super) struct BadMoment;

impl When {
    pub(super) fn ms(self) -> u64 {
        u64::try_from(self.0.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
    }

    pub(super) const fn seconds(self) -> UnixSeconds {
        UnixSeconds(self.0.unix_timestamp())
    }
}

impl FromStr for When {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        let day = || Date::parse(text, DAY).map(|date| date.midnight().assume_utc());
        let moment = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| day()).map_err(|_| BadMoment)?;
        let moment = moment.checked_to_offset(UtcOffset::UTC).ok_or(BadMoment)?;
        if (1970..=9999).contains(&moment.year()) { Ok(Self(moment)) } else { Err(BadMoment) }
    }
}

impl TryFrom<String> for When {
    type Error = BadMoment;

    fn try_from(text: String) -> Result<Self, BadMoment> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc_to_the_millisecond() {
        assert_eq!(of_ms(1_800_000_000_123).unwrap(), "2027-01-15T08:00:00.123Z");
        assert_eq!(of_seconds(UnixSeconds(0)).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(of_ms(u64::MAX), None);
        assert!(now().len() <= "2027-01-15T08:00:00.123Z".len());
    }

    #[test]
    fn a_moment_is_read_with_any_offset_or_as_a_day() {
        for text in ["2027-01-15T08:00:00Z", "2027-01-15T09:30:00+01:30", "2027-01-15T08:00:00.000Z"] {
            assert_eq!(text.parse::<When>().map(When::ms), Ok(1_800_000_000_000), "{text}");
        }
        assert_eq!("2027-01-15".parse::<When>().map(When::seconds), Ok(UnixSeconds(1_799_971_200)));
        for bad in ["", "2027-02-30", "2027-1-1", "1969-12-31T23:59:59Z", "yesterday", "2027-01-15T08:00:00"]
        {
            assert_eq!(bad.parse::<When>(), Err(BadMoment), "{bad}");
        }
    }
}
