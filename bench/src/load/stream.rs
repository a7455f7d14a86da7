//! Many streams at once: every event counted, and the gap that the path added before it.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use memchr::{memchr, memmem};
use tokio::time::{sleep, timeout};

use super::{
    Report, Target,
    caller::{Caller, SMALL_BUFFER_BYTES},
    tally::Tally,
};
use crate::{clock::monotonic_ns, engine::CONTENT_MARK, meter::Meter};

/// Streams begin over this long, so that their events are spread as those of independent callers are.
const START_SPREAD: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(500);
/// How long the last event may be late.
const LATE_MAX: Duration = Duration::from_secs(20);
const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub struct Plan {
    pub streams: usize,
    pub chunks_per_second: u32,
    pub window: Duration,
    /// The engine sends the events of all streams at the same moments, as one that decodes in batches does.
    pub in_steps: bool,
}

impl Plan {
    /// Every stream outlasts the window.
    fn chunks(&self) -> u32 {
        let length = START_SPREAD + SETTLE + self.window + SETTLE;
        (length.as_secs_f64() * f64::from(self.chunks_per_second)).ceil() as u32
    }
}

pub async fn run(target: &Target, plan: &Plan, meter: &mut Meter) -> Result<Report> {
    let tally = Arc::new(Tally::new(u64::MAX)?);
    let streams: Vec<_> = (0..plan.streams)
        .map(|number| tokio::spawn(follow(target.clone(), plan.clone(), number, tally.clone())))
        .collect();
    sleep(START_SPREAD + SETTLE).await;
    meter.open()?;
    tally.record_from_here();
    sleep(plan.window).await;
    tally.record_no_more();
    meter.close()?;
    for stream in streams {
        stream.await?;
    }
    Report::new(&tally, meter)
}

async fn follow(target: Target, plan: Plan, number: usize, tally: Arc<Tally>) {
    sleep(START_SPREAD.mul_f64(number as f64 / plan.streams as f64)).await;
    let length = Duration::from_secs_f64(f64::from(plan.chunks()) / f64::from(plan.chunks_per_second));
    let mut events = Events::default();
    let followed = timeout(length + LATE_MAX, follow_to_the_end(&target, &plan, &mut events, &tally)).await;
    if let Err(error) = followed.map_err(Into::into).flatten() {
        tally.failed(&error);
    }
    tally.lost(u64::from(plan.chunks().saturating_sub(events.next)));
}

async fn follow_to_the_end(target: &Target, plan: &Plan, events: &mut Events, tally: &Tally) -> Result<()> {
    let mut caller = Caller::connect(target.address, SMALL_BUFFER_BYTES).await?;
    let request = target.stream(plan.chunks(), plan.in_steps);
    caller.exchange(&request, |part| events.read(part, monotonic_ns(), tally)).await?;
    ensure!(!events.out_of_order, "an event is missing in the middle of a stream");
    ensure!(events.ended, "a stream without [DONE]");
    Ok(())
}

/// Reads events from a body in any split.
#[derive(Default)]
struct Events {
    /// A line that is not yet whole.
    partial: Vec<u8>,
    /// The sequence number to come.
    next: u32,
    /// When the event before was sent and when it came.
    before: Option<(u64, u64)>,
    out_of_order: bool,
    ended: bool,
}

impl Events {
    fn read(&mut self, mut part: &[u8], came_ns: u64, tally: &Tally) {
        while let Some(end) = memchr(b'\n', part) {
            if self.partial.is_empty() {
                self.line(&part[..end], came_ns, tally);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(&part[..end]);
                self.line(&line, came_ns, tally);
            }
            part = &part[end + 1..];
        }
        if self.partial.len() < LINE_BYTES_MAX {
            self.partial.extend_from_slice(part);
        }
    }

    /// Comments, empty lines and events without a stamp (usage) pass.
    fn line(&mut self, line: &[u8], came_ns: u64, tally: &Tally) {
        if line.starts_with(b"data: [DONE]") {
            self.ended = true;
        } else if let Some((sequence, sent_ns)) = stamp(line) {
            self.out_of_order |= sequence != self.next;
            self.next += 1;
            match self.before.replace((sent_ns, came_ns)) {
                Some((sent_before, came_before)) => {
                    let sent_gap = sent_ns.saturating_sub(sent_before);
                    let added = came_ns.saturating_sub(came_before).saturating_sub(sent_gap);
                    tally.done(Duration::from_nanos(added));
                }
                None => tally.done_untimed(1),
            }
        }
    }
}

fn stamp(line: &[u8]) -> Option<(u32, u64)> {
    let at = memmem::find(line, CONTENT_MARK.as_bytes())? + CONTENT_MARK.len();
    let mut words = std::str::from_utf8(&line[at..]).ok()?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"0 1000 \"}}]}\n\n: wait\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"1 2000 \"}}]}\n\ndata: [DONE]\n\n";

    #[test]
    fn events_are_the_same_in_any_split() {
        for piece_bytes in 1..=BODY.len() {
            let tally = Tally::new(u64::MAX).unwrap();
            tally.record_from_here();
            let mut events = Events::default();
            for piece in BODY.as_bytes().chunks(piece_bytes) {
                events.read(piece, 5000, &tally);
            }
            assert_eq!((events.next, events.ended, events.out_of_order), (2, true, false));
            assert_eq!(tally.report().unwrap().done, 2);
        }
    }

    #[test]
    fn the_gap_that_the_path_added_is_what_exceeds_the_gap_that_was_sent() {
        let tally = Tally::new(u64::MAX).unwrap();
        tally.record_from_here();
        let mut events = Events::default();
        events.line(b"data: \"content\":\"0 1000000 \"", 1_500_000, &tally);
        events.line(b"data: \"content\":\"1 2000000 \"", 6_500_000, &tally);
        let report = tally.report().unwrap();
        assert_eq!((report.done, report.latency_ns.len()), (2, 1));
        assert!((3_990_000..=4_010_000).contains(&report.latency_ns.max()));
    }

    #[test]
    fn a_missing_event_is_noticed() {
        let tally = Tally::new(u64::MAX).unwrap();
        let mut events = Events::default();
        events.line(b"data: \"content\":\"0 1 \"", 2, &tally);
        events.line(b"data: \"content\":\"2 1 \"", 2, &tally);
        assert!(events.out_of_order);
    }
}
