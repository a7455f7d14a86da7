//! The load generator: callers on raw sockets, cheap enough not to be what is measured.

pub mod bulk;
mod caller;
pub mod first_byte;
pub mod plain;
mod request;
pub mod stream;
mod tally;

use anyhow::Result;
use hdrhistogram::Histogram;
use memchr::memmem;

use self::caller::{Caller, SMALL_BUFFER_BYTES};
pub use self::request::Target;
use crate::meter::{Bill, Meter, Role};

/// One plain request, for a path that was just started.
pub async fn probe(target: &Target) -> Result<()> {
    let mut caller = Caller::connect(target.address, SMALL_BUFFER_BYTES).await?;
    caller.exchange(&target.chat(true), |_| {}).await?;
    Ok(())
}

/// Whether the list of models has the target's.
pub async fn serves_model(target: &Target) -> Result<bool> {
    let mut caller = Caller::connect(target.address, SMALL_BUFFER_BYTES).await?;
    let mut list = Vec::new();
    caller.exchange(&target.models(), |part| list.extend_from_slice(part)).await?;
    Ok(memmem::find(&list, format!("\"{}\"", target.model).as_bytes()).is_some())
}

/// What one load came to, within its measured window.
#[derive(Debug)]
pub struct Report {
    /// Requests, events or bytes.
    pub done: u64,
    /// Nanoseconds: of whole requests, of gaps added between events, or to the first byte.
    pub latency_ns: Histogram<u64>,
    pub failed: u64,
    pub first_failure: Option<String>,
    /// Events that never came; counted over whole streams, the parts outside the window included.
    pub lost: u64,
    pub bill: Bill,
}

impl Report {
    fn new(tally: &tally::Tally, meter: &mut Meter) -> Result<Self> {
        Ok(Self { bill: meter.take()?, ..tally.report()? })
    }

    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.bill.window.as_secs_f64()
    }

    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e6
    }

    /// CPU of everything that was not measured, as a part of one core.
    pub fn others(&self) -> f64 {
        self.bill.others.as_secs_f64() / self.bill.window.as_secs_f64()
    }

    /// CPU of a role, in microseconds per request or event.
    pub fn cpu_us(&self, role: Role) -> f64 {
        let cpu = self.bill.costs.get(&role).map_or(0.0, |cost| cost.cpu.as_secs_f64());
        cpu * 1e6 / self.done.max(1) as f64
    }
}
