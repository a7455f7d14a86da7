//! How long the first byte takes after the path was idle, for one caller and for many at once.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{
    sync::Barrier,
    time::{Instant, sleep, timeout},
};

use super::{
    Report, Target,
    caller::{Caller, SMALL_BUFFER_BYTES},
    tally::Tally,
};
use crate::meter::Meter;

const DEADLINE: Duration = Duration::from_secs(30);
/// From connecting to asking: longer than the handshake of a slow path, which the direct path's callers pay.
const CONNECTED_FOR: Duration = Duration::from_millis(150);

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub callers: usize,
    /// Waves of callers, one after the other.
    pub waves: usize,
    /// No request is under way for this long before each wave.
    pub idle: Duration,
}

pub async fn run(target: &Target, plan: Plan, meter: &mut Meter) -> Result<Report> {
    let tally = Arc::new(Tally::new(u64::MAX)?);
    tally.record_from_here();
    meter.open()?;
    for _ in 0..plan.waves {
        sleep(plan.idle).await;
        wave(target, plan.callers, &tally).await?;
    }
    meter.close()?;
    Report::new(&tally, meter)
}

/// The callers are connected before the first of them asks: the path behind the gateway is what is timed.
async fn wave(target: &Target, callers: usize, tally: &Arc<Tally>) -> Result<()> {
    let connected = Arc::new(Barrier::new(callers));
    let asked: Vec<_> = (0..callers)
        .map(|_| {
            let (target, tally, connected) = (target.clone(), tally.clone(), connected.clone());
            tokio::spawn(async move {
                if let Err(error) = timeout(DEADLINE, ask(&target, &connected, &tally)).await? {
                    tally.failed(&error);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for caller in asked {
        caller.await??;
    }
    Ok(())
}

async fn ask(target: &Target, connected: &Barrier, tally: &Tally) -> Result<()> {
    let mut caller = Caller::connect(target.address, SMALL_BUFFER_BYTES).await?;
    connected.wait().await;
    sleep(CONNECTED_FOR).await;
    let begun = Instant::now().into_std();
    let answer = caller.exchange(&target.chat(true), |_| {}).await?;
    tally.done(answer.first_byte - begun);
    Ok(())
}
