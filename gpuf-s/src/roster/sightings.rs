//! Which rows are of servers that live: those that change, whatever the clocks of their writers say.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::store::ServerRow;

/// A server that has said nothing for this long is gone.
const ALIVE_FOR: Duration = Duration::from_secs(15);

/// When each server was last seen to say something.
#[derive(Debug, Default)]
pub struct Sightings {
    known: HashMap<[u8; 16], Sighting>,
    missed: bool,
}

#[derive(Debug)]
struct Sighting {
    seen_unix_ms: u64,
    first: Instant,
    at: Option<Instant>,
    complained: bool,
}

impl Sighting {
    fn is_alive(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now.duration_since(at) < ALIVE_FOR)
    }
}

impl Sightings {
    /// The others among `rows` that live and whose agents are at home here.
    pub fn alive(
        &mut self,
        rows: Vec<ServerRow>,
        own: &ServerRow,
        now_unix_ms: u64,
        now: Instant,
    ) -> Vec<ServerRow> {
        self.known.retain(|id, _| rows.iter().any(|row| row.id == *id));
        let missed = std::mem::take(&mut self.missed);
        let mut rows = rows;
        rows.retain(|row| row.id != own.id && self.sees(row, own, now_unix_ms, now, missed));
        rows
    }

    /// Those among `rows` that live, for whoever is no server.
    pub fn living(&mut self, mut rows: Vec<ServerRow>, now_unix_ms: u64, now: Instant) -> Vec<ServerRow> {
        self.known.retain(|id, _| rows.iter().any(|row| row.id == *id));
        let missed = std::mem::take(&mut self.missed);
        rows.retain(|row| self.hears(row, now_unix_ms, now, missed).is_alive(now));
        rows
    }

    /// The database did not answer: that nobody could say anything is not the servers' silence.
    pub const fn miss(&mut self) {
        self.missed = true;
    }

    fn sees(
        &mut self,
        row: &ServerRow,
        own: &ServerRow,
        now_unix_ms: u64,
        now: Instant,
        missed: bool,
    ) -> bool {
        let sighting = self.hears(row, now_unix_ms, now, missed);
        let is_alive = sighting.is_alive(now);
        if is_alive {
            sighting.complain(row, own, now);
        }
        is_alive && row.fingerprint == own.fingerprint
    }

    /// Notes whether a server has said something.
    fn hears(&mut self, row: &ServerRow, now_unix_ms: u64, now: Instant, missed: bool) -> &mut Sighting {
        let sighting = self.known.entry(row.id).or_insert_with(|| {
            // Of a row that was there before us only its clock tells; if that is wrong, its next word will.
            let age_ms = u128::from(now_unix_ms.saturating_sub(row.seen_unix_ms));
            let at = (age_ms < ALIVE_FOR.as_millis()).then_some(now);
            Sighting { seen_unix_ms: row.seen_unix_ms, first: now, at, complained: false }
        });
        let spoke = sighting.seen_unix_ms != row.seen_unix_ms;
        sighting.seen_unix_ms = row.seen_unix_ms;
        if spoke || (missed && sighting.at.is_some()) {
            sighting.at = Some(now);
        }
        sighting
    }
}

impl Sighting {
    /// Says once what the operator has to mend.
    fn complain(&mut self, row: &ServerRow, own: &ServerRow, now: Instant) {
        if self.complained {
            return;
        }
        if row.fingerprint != own.fingerprint {
            self.complained = true;
            warn!(
                server = row.name,
                theirs = row.fingerprint,
                ours = own.fingerprint,
                "a server of another authority uses this database and is ignored; give both one --authority-dir"
            );
        } else if row.control == own.control && now.duration_since(self.first) > ALIVE_FOR {
            // Only past this time: before, it may be this server's own row from before a crash.
            self.complained = true;
            warn!(
                server = row.name,
                "another server has the same control address, so agents reach only one of both; \
                 give each its own --advertise or --control-port"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::UnixSeconds;

    const NOBODY: [u8; 0] = [];
    const NOW_MS: u64 = 1_800_000_000_000;

    fn row(id: u8, seen_unix_ms: u64) -> ServerRow {
        ServerRow {
            id: [id; 16],
            name: format!("s{id}:1"),
            version: "0".into(),
            control: format!("s{id}:1"),
            public: String::new(),
            api: String::new(),
            fingerprint: "kin".into(),
            started: UnixSeconds(0),
            seen_unix_ms,
            agents: Vec::new(),
        }
    }

    /// One observer's view, second by second.
    struct View {
        sightings: Sightings,
        began: Instant,
    }

    impl View {
        fn new() -> Self {
            Self { sightings: Sightings::default(), began: Instant::now() }
        }

        fn at(&mut self, second: u64, rows: &[ServerRow]) -> Vec<u8> {
            let now = self.began + Duration::from_secs(second);
            let alive = self.sightings.alive(rows.to_vec(), &row(0, 0), NOW_MS + second * 1000, now);
            alive.iter().map(|row| row.id[0]).collect()
        }
    }

    #[test]
    fn a_server_lives_for_as_long_as_it_speaks() {
        let mut view = View::new();
        assert_eq!(view.at(0, &[row(0, NOW_MS), row(1, NOW_MS)]), [1], "all but oneself");
        assert_eq!(view.at(14, &[row(1, NOW_MS)]), [1]);
        assert_eq!(view.at(15, &[row(1, NOW_MS)]), NOBODY);
        assert_eq!(view.at(16, &[row(1, NOW_MS + 1)]), [1]);
        assert_eq!(view.at(17, &[]), NOBODY);
    }

    #[test]
    fn a_server_with_a_wrong_clock_is_seen_at_its_next_word() {
        for wrong in [NOW_MS - 1_000_000, NOW_MS + 1_000_000] {
            let mut view = View::new();
            view.at(0, &[row(1, wrong)]);
            assert_eq!(view.at(5, &[row(1, wrong + 5000)]), [1]);
            assert_eq!(view.at(19, &[row(1, wrong + 5000)]), [1]);
            assert_eq!(view.at(20, &[row(1, wrong + 5000)]), NOBODY, "and then as long as any other");
        }
    }

    #[test]
    fn a_row_from_before_is_of_nobody() {
        assert_eq!(View::new().at(0, &[row(1, NOW_MS - 15_000)]), NOBODY);
    }

    #[test]
    fn what_a_silent_database_hides_is_not_gone() {
        let mut view = View::new();
        view.at(0, &[row(1, NOW_MS)]);
        view.sightings.miss();
        assert_eq!(view.at(600, &[row(1, NOW_MS)]), [1]);
        assert_eq!(view.at(615, &[row(1, NOW_MS)]), NOBODY);
    }

    #[test]
    fn a_server_of_another_authority_is_ignored() {
        let stranger = ServerRow { fingerprint: "stranger".into(), ..row(1, NOW_MS) };
        assert_eq!(View::new().at(0, &[stranger, row(2, NOW_MS)]), [2]);
    }
}
