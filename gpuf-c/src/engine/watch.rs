//! Looking at every place again and again, and drawing conclusions.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{EngineKind, EngineReport, engine::SLOTS_MAX};
use futures_util::future;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Board, Engine, Seats, Target,
    client::{Client, Error},
    exposure, identify,
    survey::{self, Facts, State},
};
use crate::bounded::shortened;

/// Between looks at an engine that answers, and at a place where nobody does.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Until the second look at an engine that failed to answer the first.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Between looks at somebody who is no engine: each look is half a dozen lines in their log.
const STRANGER_EVERY: Duration = Duration::from_secs(30);
/// An engine that fails to answer so many looks in a row is gone.
const FAILURES_MAX: u32 = 2;
/// Engines that end connections of their own accord are not asked for their facts each time.
const LEARN_AT_MOST_EVERY: Duration = Duration::from_secs(30);
const VERSION_BYTES_MAX: usize = 64;

/// Watches all targets until `cancel`.
pub async fn all(targets: Vec<Target>, slots: Option<u32>, board: Arc<Board>, cancel: CancellationToken) {
    let watchers = targets.into_iter().enumerate().map(|(index, target)| {
        let look_now = board.look_now(index);
        Watcher { index, slots, look_now, board: board.clone(), known: Known::new(target) }.run()
    });
    let watching = pin!(future::join_all(watchers));
    let _ = future::select(watching, pin!(cancel.cancelled())).await;
}

struct Watcher {
    index: usize,
    slots: Option<u32>,
    look_now: Arc<Notify>,
    board: Arc<Board>,
    known: Known,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            let seen = self.known.look(self.slots).await;
            let pause = match self.known.conclude(seen) {
                Conclusion::Here(engine) => self.record(Some(engine), LOOK_EVERY),
                Conclusion::Doubtful => LOOK_AGAIN_AFTER,
                Conclusion::Nobody => self.record(None, LOOK_EVERY),
                Conclusion::Stranger => self.record(None, STRANGER_EVERY),
            };
            tokio::select! {
                () = tokio::time::sleep(with_jitter(pause)) => {}
                () = self.look_now.notified() => {}
            }
        }
    }

    fn record(&self, engine: Option<Engine>, pause: Duration) -> Duration {
        self.board.record(self.index, engine);
        pause
    }
}

/// What one look leads to.
#[derive(Debug)]
enum Conclusion {
    /// It answers.
    Here(Engine),
    /// It did not answer; look again before believing that it is gone.
    Doubtful,
    /// Nobody answers.
    Nobody,
    /// Somebody answers who is of no use.
    Stranger,
}

/// What is known of one place.
struct Known {
    target: Target,
    client: Client,
    seats: Seats,
    learnt: Option<Learnt>,
    present: bool,
    failures: u32,
    complained: bool,
    checked_exposure: bool,
}

/// What an engine is, and how long that holds.
struct Learnt {
    kind: EngineKind,
    facts: Facts,
    connects: u64,
    at: Instant,
}

impl Known {
    fn new(target: Target) -> Self {
        let client = Client::new(target.url.clone());
        Self {
            target,
            client,
            seats: Seats::default(),
            learnt: None,
            present: false,
            failures: 0,
            complained: false,
            checked_exposure: false,
        }
    }

    /// Asks what is to be asked.
    async fn look(&mut self, slots: Option<u32>) -> Result<Engine, Error> {
        if self.learnt.is_none() {
            self.learnt = Some(self.learn(None).await?);
        }
        let mut state = self.observe().await?;
        if self.is_outdated() {
            let kind = self.learnt.as_ref().map(|learnt| learnt.kind);
            self.learnt = Some(self.learn(kind).await?);
            state = self.observe().await?;
        }
        let learnt = self.learnt.as_ref().ok_or(Error::Unknown)?;
        self.engine(learnt, state, slots).ok_or(Error::Unknown)
    }

    async fn learn(&mut self, kind: Option<EngineKind>) -> Result<Learnt, Error> {
        let kind = match kind.or(self.target.kind) {
            Some(kind) => kind,
            None => identify::identify(&mut self.client, self.target.likely).await?,
        };
        let facts = survey::learn(kind, &mut self.client).await?;
        Ok(Learnt { kind, facts, connects: self.client.connects(), at: Instant::now() })
    }

    async fn observe(&mut self) -> Result<State, Error> {
        match &self.learnt {
            Some(learnt) => survey::observe(learnt.kind, &learnt.facts, &mut self.client).await,
            None => Err(Error::Unknown),
        }
    }

    /// A connection that had to be made anew may lead to an engine that was restarted otherwise.
    fn is_outdated(&self) -> bool {
        self.learnt.as_ref().is_some_and(|learnt| {
            learnt.connects != self.client.connects() && learnt.at.elapsed() >= LEARN_AT_MOST_EVERY
        })
    }

    fn engine(&self, learnt: &Learnt, state: State, slots: Option<u32>) -> Option<Engine> {
        let Facts { version, endpoints, slots: told, .. } = &learnt.facts;
        let report = EngineReport {
            id: self.target.id(learnt.kind)?,
            kind: learnt.kind,
            version: version.as_deref().map(|text| shortened(text, VERSION_BYTES_MAX)),
            endpoints: *endpoints,
            models: state.models,
            slots: slots.unwrap_or(*told).clamp(1, SLOTS_MAX),
            waiting: state.waiting,
        };
        let (address, host) = (self.client.address()?, self.client.host().clone());
        Some(Engine { report: Arc::new(report), address, host, seats: self.seats.clone() })
    }

    /// Decides what a look means, and says so once.
    fn conclude(&mut self, seen: Result<Engine, Error>) -> Conclusion {
        let error = match seen {
            Ok(engine) => return self.is_here(engine),
            Err(error) => error,
        };
        if self.present && !error.is_refusal() && self.failures + 1 < FAILURES_MAX {
            self.failures += 1;
            debug!(engine = %self.target.url, %error, "engine did not answer");
            return Conclusion::Doubtful;
        }
        self.is_gone(&error);
        match error {
            // One that is starting up answers with an error status, or breaks off: that may end any moment.
            Error::Unknown | Error::Locked | Error::Json { .. } if !self.target.given => Conclusion::Stranger,
            _ => Conclusion::Nobody,
        }
    }

    fn is_here(&mut self, engine: Engine) -> Conclusion {
        let report = &engine.report;
        if !std::mem::replace(&mut self.present, true) {
            let version = report.version.as_deref().unwrap_or("-");
            info!(
                engine = %report.id, address = %self.target.url, %version,
                models = report.models.len(), slots = report.slots, "engine found"
            );
        }
        self.failures = 0;
        self.complained = false;
        self.check_exposure();
        Conclusion::Here(engine)
    }

    /// What comes up at this address next may be somebody else: nothing is known of it.
    fn is_gone(&mut self, error: &Error) {
        self.learnt = None;
        self.failures = 0;
        if std::mem::replace(&mut self.present, false) {
            warn!(engine = %self.target.url, %error, "engine gone");
            self.complained = true;
            return;
        }
        let worth_saying = self.target.given || matches!(error, Error::Locked);
        if worth_saying && !std::mem::replace(&mut self.complained, true) {
            warn!(engine = %self.target.url, %error, "no engine there yet; looking again and again");
        }
    }

    fn check_exposure(&mut self) {
        if self.target.url.is_loopback() && !std::mem::replace(&mut self.checked_exposure, true) {
            exposure::warn_if_exposed(self.target.url.port());
        }
    }
}

/// Up to a tenth more or less, so that agents and engines do not beat in time.
fn with_jitter(pause: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness there is no jitter, which is no harm.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use common::EndpointSet;
    use http::StatusCode;

    use super::*;

    fn known(given: bool) -> Known {
        let url = "http://127.0.0.1:8080".parse().unwrap();
        Known::new(Target { url, kind: None, likely: None, given, suffix: 0 })
    }

    fn engine() -> Engine {
        let report = EngineReport {
            id: "llama-cpp-8080".parse().unwrap(),
            kind: EngineKind::LlamaCpp,
            version: None,
            endpoints: EndpointSet::default(),
            models: Vec::new(),
            slots: 1,
            waiting: None,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let host = http::HeaderValue::from_static("localhost:8080");
        Engine { report: Arc::new(report), address, host, seats: Seats::default() }
    }

    fn starting() -> Error {
        Error::Status { status: StatusCode::SERVICE_UNAVAILABLE, path: "/props" }
    }

    #[test]
    fn silence_is_believed_the_second_time_and_a_refusal_at_once() {
        let mut known = known(false);
        for _ in 0..2 {
            assert!(matches!(known.conclude(Ok(engine())), Conclusion::Here(_)));
            assert!(matches!(known.conclude(Err(Error::Timeout)), Conclusion::Doubtful));
        }
        assert!(matches!(known.conclude(Err(Error::Timeout)), Conclusion::Nobody));
        assert!(matches!(known.conclude(Ok(engine())), Conclusion::Here(_)));
        assert!(matches!(known.conclude(Err(Error::Refused)), Conclusion::Nobody));
    }

    #[test]
    fn strangers_are_left_in_peace_but_not_engines_that_start_or_were_named() {
        let mut found = known(false);
        assert!(matches!(found.conclude(Err(Error::Unknown)), Conclusion::Stranger));
        assert!(matches!(found.conclude(Err(starting())), Conclusion::Nobody));
        assert!(matches!(known(true).conclude(Err(Error::Unknown)), Conclusion::Nobody));
    }

    #[test]
    fn pauses_differ_by_a_tenth_at_most() {
        for _ in 0..100 {
            let pause = with_jitter(LOOK_EVERY).as_millis();
            assert!((1800..=2200).contains(&pause), "{pause}");
        }
    }
}
