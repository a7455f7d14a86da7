//! One large body, read as fast as it comes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::timeout;

use super::{Report, Target, caller::Caller, tally::Tally};
use crate::meter::Meter;

const BUFFER_BYTES: usize = 256 * 1024;
const DEADLINE: Duration = Duration::from_secs(300);

/// `done` of the report is bytes.
pub async fn run(target: &Target, bytes: u64, meter: &mut Meter) -> Result<Report> {
    let tally = Tally::new(u64::MAX)?;
    let mut caller = Caller::connect(target.address, BUFFER_BYTES).await?;
    let request = target.bulk(bytes);
    meter.open()?;
    tally.record_from_here();
    let mut came = 0;
    let exchange = caller.exchange(&request, |part| came += part.len() as u64);
    timeout(DEADLINE, exchange).await??;
    meter.close()?;
    ensure!(came == bytes, "{came} of {bytes} bytes came");
    tally.done_untimed(came);
    Report::new(&tally, meter)
}
