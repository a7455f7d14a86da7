//! `stats rebuild`: counts the figures of a day again from its heartbeats.

use clap::Subcommand;

use super::{
    Error,
    table::{self, or_dash},
};
use crate::{
    config::Config,
    data_dir::DataDir,
    store::{Day, Difference, Rebuild, Rebuilt, Store},
};

/// Differences that are shown; a day may have one per figure of every agent.
const SHOWN_MAX: usize = 100;
const HEAD: [&str; 5] = ["AGENT", "DEVICE", "FIGURE", "STORED", "COUNTED"];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Count a day's figures of agents and devices again from its heartbeats, and show what differed
    Rebuild {
        /// The day, UTC
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Day,
        /// Change nothing, and fail where something differs
        #[arg(long)]
        check: bool,
        /// Also where the heartbeats are past their retention: figures that nothing is left of are erased
        #[arg(long, conflicts_with = "check")]
        force: bool,
    },
}

pub(super) async fn execute(command: Command, config: &Config) -> Result<String, Error> {
    let Command::Rebuild { day, check, force } = command;
    let how = match (check, force) {
        (true, _) => Rebuild::Check,
        (_, true) => Rebuild::Force,
        _ => Rebuild::Write,
    };
    let store = Store::open(&config.state.database, &DataDir::open(&config.data_dir)?).await?;
    let rebuilt = store.rebuild_day(day, how).await;
    store.close().await;
    let rebuilt = rebuilt?.ok_or(Error::HeartbeatsGone(day))?;
    let differ = rebuilt.differences.len();
    let text = describe(day, &rebuilt);
    if check && differ > 0 {
        table::print(&text)?;
        return Err(Error::FiguresDiffer { day, differ });
    }
    let done = match differ {
        0 => "Every figure is what they come to.\n".to_owned(),
        differ => format!("{differ} figures were others, and are written anew.\n"),
    };
    Ok(text + &done)
}

fn describe(day: Day, rebuilt: &Rebuilt) -> String {
    let Rebuilt { rows, agents, devices, differences } = rebuilt;
    let shown: Vec<_> = differences.iter().take(SHOWN_MAX).map(row).collect();
    let mut text = if shown.is_empty() { String::new() } else { table::or_sentence(&HEAD, &shown, "") };
    match differences.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        more => text += &format!("… and {more} more\n"),
    }
    text + &format!("{day}: {rows} heartbeats of {agents} agents and {devices} devices.\n")
}

fn row(difference: &Difference) -> Vec<String> {
    vec![
        difference.agent_id.to_string(),
        or_dash(difference.device),
        difference.column.to_owned(),
        or_dash(difference.stored),
        or_dash(difference.counted),
    ]
}

#[cfg(test)]
mod tests {
    use common::AgentId;
    use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};

    use super::*;
    use crate::{
        cli::tests::config,
        store::{Batch, Sample, SampleId},
    };

    const NOW_MS: u64 = 1_800_000_000_000;

    fn sample(at: u64) -> Sample {
        Sample {
            id: SampleId::from_bytes([1; 16]),
            agent_id: AgentId::from_bytes([2; 16]),
            taken_unix_ms: NOW_MS + at * 1000,
            cpu_millipercent: 7,
            memory_used_bytes: 0,
            memory_total_bytes: 0,
            disk_used_bytes: 0,
            disk_total_bytes: 0,
            network_received_bytes: at,
            network_sent_bytes: 0,
            uptime_s: at,
            devices: vec![],
        }
    }

    #[tokio::test]
    async fn a_day_is_checked_put_right_and_left_alone_where_its_heartbeats_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let data = DataDir::open(folder.path()).unwrap();
        let store = Store::embedded(&data).await.unwrap();
        let batch = Batch { samples: (1..=3).map(sample).collect(), ..Batch::default() };
        store.ingest(&batch).await.unwrap();
        let day: Day = "2027-01-15".parse().unwrap();
        let rebuild = async |check, force| execute(Command::Rebuild { day, check, force }, &config).await;
        let text = rebuild(true, false).await.unwrap();
        assert_eq!(
            text,
            "2027-01-15: 3 heartbeats of 1 agents and 0 devices.\nEvery figure is what they come to.\n"
        );

        let mut beside = SqliteConnectOptions::new().filename(data.file("gpuf.db")).connect().await.unwrap();
        beside.execute("UPDATE agent_days SET received_bytes = 99").await.unwrap();
        let refused = rebuild(true, false).await.unwrap_err();
        assert!(matches!(refused, Error::FiguresDiffer { differ: 1, .. }), "{refused}");
        let text = rebuild(false, false).await.unwrap();
        assert!(text.contains("received_bytes  99      2\n"), "{text}");
        assert!(text.ends_with("1 figures were others, and are written anew.\n"), "{text}");
        assert!(rebuild(true, false).await.is_ok());

        store.prune_samples(NOW_MS + 86_400_000).await.unwrap();
        for check in [true, false] {
            assert!(matches!(rebuild(check, false).await, Err(Error::HeartbeatsGone(_))));
        }
        let text = rebuild(false, true).await.unwrap();
        assert!(text.contains("0 heartbeats of 0 agents"), "{text}");
        store.close().await;
    }
}
