//! Plain requests from a fixed number of callers, each with one request at a time.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{
    Report, Target,
    caller::{Caller, SMALL_BUFFER_BYTES},
    tally::Tally,
};
use crate::meter::Meter;

const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// Callers connect over this long and not at once.
const CONNECT_SPREAD: Duration = Duration::from_millis(100);
/// A caller with a slow pace sees within this time that the load is over.
const LOOK_UP_EVERY: Duration = Duration::from_millis(200);
const LAST_ANSWERS: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Plan {
    pub connections: usize,
    /// A connection for each request.
    pub new_connection: bool,
    pub warm_up: Duration,
    pub window: Duration,
    /// End the window at this many requests, should it not be over by then.
    pub requests_max: u64,
    /// Requests a second over all callers; each goes as fast as it is answered where there is none.
    pub rate: Option<f64>,
}

pub async fn run(target: &Target, plan: &Plan, meter: &mut Meter) -> Result<Report> {
    let tally = Arc::new(Tally::new(plan.requests_max)?);
    let callers: Vec<_> = (0..plan.connections)
        .map(|number| tokio::spawn(call_until_stopped(target.clone(), plan.clone(), number, tally.clone())))
        .collect();
    sleep(plan.warm_up).await;
    meter.open()?;
    tally.record_from_here();
    // Either end is a good one.
    let _ = timeout(plan.window, tally.reached.notified()).await;
    tally.record_no_more();
    meter.close()?;
    tally.stop();
    let deadline = Instant::now() + LAST_ANSWERS;
    for caller in callers {
        let abort = caller.abort_handle();
        if timeout_at(deadline, caller).await.is_err() {
            abort.abort();
            tally.failed(&anyhow::anyhow!("an answer took more than {LAST_ANSWERS:?}"));
        }
    }
    Report::new(&tally, meter)
}

async fn call_until_stopped(target: Target, plan: Plan, number: usize, tally: Arc<Tally>) {
    let share = number as f64 / plan.connections as f64;
    sleep(CONNECT_SPREAD.mul_f64(share)).await;
    let mut pace = plan.rate.map(|rate| Pace::new(plan.connections as f64 / rate, share));
    while !tally.is_stopped() {
        if let Err(error) = call_on_one_connection(&target, &plan, &mut pace, &tally).await {
            tally.failed(&error);
            sleep(AFTER_FAILURE).await;
        }
    }
}

/// Returns when the server asked to close, or after one request where each has its own connection.
async fn call_on_one_connection(
    target: &Target,
    plan: &Plan,
    pace: &mut Option<Pace>,
    tally: &Tally,
) -> Result<()> {
    let request = target.chat(plan.new_connection);
    let mut connected = None;
    while !tally.is_stopped() {
        if let Some(pace) = pace {
            pace.wait(tally).await;
        }
        let begun = Instant::now();
        let caller = match &mut connected {
            Some(caller) => caller,
            none => none.insert(Caller::connect(target.address, SMALL_BUFFER_BYTES).await?),
        };
        let answer = caller.exchange(&request, |_| {}).await?;
        tally.done(begun.elapsed());
        if answer.closes || plan.new_connection {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends on a schedule; a caller that fell behind goes on at once and does not catch up in a burst.
struct Pace {
    every: Duration,
    due: Instant,
}

impl Pace {
    fn new(every_seconds: f64, share: f64) -> Self {
        let every = Duration::from_secs_f64(every_seconds.min(60.0));
        Self { every, due: Instant::now() + every.mul_f64(share) }
    }

    async fn wait(&mut self, tally: &Tally) {
        while Instant::now() < self.due && !tally.is_stopped() {
            sleep_until(self.due.min(Instant::now() + LOOK_UP_EVERY)).await;
        }
        self.due = (self.due + self.every).max(Instant::now());
    }
}
