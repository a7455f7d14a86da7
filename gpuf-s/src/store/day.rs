//! A calendar day in UTC: the unit of statistics and of retention.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::{Date, OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
const FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// The last day of the year 9999: what four digits of a year can write.
const LAST: i32 = 2_932_896;

/// Days since the Unix epoch, from 1970 to 9999; written `YYYY-MM-DD`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(i32);

/// Text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is written YYYY-MM-DD, from 1970-01-01 on")]
pub struct BadDay;

impl Day {
    /// The day of a moment; `None` after the year 9999.
    #[must_use]
    pub fn of_unix_ms(unix_ms: u64) -> Option<Self> {
        Self::from_number(i64::try_from(unix_ms / DAY_MS).ok()?)
    }

    /// The day of this number, days since the Unix epoch.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        i32::try_from(number).ok().filter(|number| (0..=LAST).contains(number)).map(Self)
    }

    /// Days since the Unix epoch.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Its first millisecond.
    #[must_use]
    pub const fn first_unix_ms(self) -> i64 {
        self.0 as i64 * DAY_MS.cast_signed()
    }

    /// The first millisecond after it.
    #[must_use]
    pub const fn end_unix_ms(self) -> i64 {
        self.first_unix_ms() + DAY_MS.cast_signed()
    }

    /// The day after it; the last day is its own.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(LAST))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment =
            OffsetDateTime::from_unix_timestamp(self.first_unix_ms() / 1000).map_err(|_| fmt::Error)?;
        f.write_str(&moment.date().format(FORMAT).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Day {
    type Err = BadDay;

    fn from_str(text: &str) -> Result<Self, BadDay> {
        let date = Date::parse(text, FORMAT).map_err(|_| BadDay)?;
        let seconds = date.midnight().assume_utc().unix_timestamp();
        Self::from_number(seconds.div_euclid(86_400)).ok_or(BadDay)
    }
}

impl TryFrom<String> for Day {
    type Error = BadDay;

    fn try_from(text: String) -> Result<Self, BadDay> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_survives_being_written_and_read() {
        for (unix_ms, text) in
            [(0, "1970-01-01"), (1_800_000_000_000, "2027-01-15"), (951_782_400_000, "2000-02-29")]
        {
            let day = Day::of_unix_ms(unix_ms).unwrap();
            assert_eq!((day.to_string().as_str(), text.parse()), (text, Ok(day)));
            assert!((day.first_unix_ms()..day.end_unix_ms()).contains(&unix_ms.cast_signed()));
            assert_eq!(day.next().first_unix_ms(), day.end_unix_ms());
        }
    }

    #[test]
    fn the_calendar_ends_with_the_year_9999() {
        assert_eq!(Day::of_unix_ms(253_402_300_799_999).unwrap().to_string(), "9999-12-31");
        assert_eq!(Day::of_unix_ms(253_402_300_800_000), None);
        assert_eq!(Day::of_unix_ms(u64::MAX), None);
        for bad in ["", "2027-1-1", "2027-02-30", "1969-12-31", "27-01-01", "2027-01-01 "] {
            assert_eq!(bad.parse::<Day>(), Err(BadDay), "{bad}");
        }
    }
}
