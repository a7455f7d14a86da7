//! The way of records from this server to the store: its tasks, started together and ended in order.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::{
    bus::Bus,
    config::State,
    data_dir::DataDir,
    outbox::{self, Outbox},
    store::Store,
    telemetry::{
        Figures, Forwarder, Ingester, Recorder,
        ingest::{self, Ingested},
        upkeep,
    },
};

/// Records in one transaction of the ingester.
const BATCH_RECORDS_MAX: usize = 1000;
/// What a batch waits for: with the bus in this process, the forwarder has gathered it already.
const BATCH_WAIT: Duration = Duration::from_millis(20);

/// The tasks, and what they share.
#[derive(Debug)]
pub struct Records {
    /// Takes records.
    pub recorder: Recorder,
    /// Shows what became of them.
    pub figures: Figures,
    steps: Vec<Step>,
}

/// A task and what ends it.
#[derive(Debug)]
struct Step {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Step {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let closing = CancellationToken::new();
        let task = tokio::spawn(run(closing.clone()));
        Self { closing, task }
    }

    async fn end(self) {
        self.closing.cancel();
        let _ = self.task.await;
    }
}

impl Records {
    /// Opens outbox and bus, and starts what brings records from one end to the other.
    pub async fn start(state: &State, data: &DataDir, store: &Store) -> Result<Self, Error> {
        let limits = outbox::Limits::default();
        let (outbox, scribe) = Outbox::open(&data.file(outbox::FILE), limits).await?;
        let bus = match &state.kafka {
            Some(settings) => Bus::kafka(settings)?,
            None => Bus::embedded(),
        };
        let recorder = Recorder::new(outbox.clone());
        let forwarder = Forwarder::new(outbox, bus.clone());
        // What is at the beginning of the way ends first, and finds all behind it still at work.
        let mut steps =
            vec![Step::start(|closing| forwarder.run(closing)), Step::start(|closing| scribe.run(closing))];
        let stores_here = state.kafka.is_none() || state.consumer;
        let ingested = if stores_here { Some(ingest(state, store, bus, &mut steps)?) } else { None };
        let figures = Figures { recorder: Some(recorder.clone()), ingested };
        Ok(Self { recorder, figures, steps })
    }

    /// Brings over what can be brought over in a moment; the outbox keeps the rest for the next start.
    pub async fn end(self) {
        for step in self.steps {
            step.end().await;
        }
    }
}

fn ingest(state: &State, store: &Store, bus: Bus, steps: &mut Vec<Step>) -> Result<Arc<Ingested>, Error> {
    let settings = ingest::Settings { batch_records_max: BATCH_RECORDS_MAX, batch_wait: BATCH_WAIT };
    let ingester = Ingester::new(store.clone(), bus, settings)?;
    let ingested = ingester.counts();
    let (store, days) = (store.clone(), state.heartbeat_days);
    steps.push(Step::start(|closing| ingester.watch_lag(closing)));
    steps.push(Step::start(|closing| ingester.run(closing)));
    steps.push(Step::start(|closing| upkeep::keep(store, days, closing)));
    Ok(ingested)
}
