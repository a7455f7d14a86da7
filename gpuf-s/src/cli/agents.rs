//! `agents list`, `agents revoke`.

use clap::Subcommand;
use common::AgentId;

use super::{
    Error,
    office::Office,
    table::{self, or_dash},
};
use crate::{api::AgentView, config::Config};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the machines that were let in, and what they serve
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a machine out: its session ends and it cannot come back without another join string
    Revoke {
        /// The agent's id, as in the list
        id: AgentId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn execute(command: Command, config: &Config) -> Result<String, Error> {
    let mut office = Office::open(config).await?;
    let done = carry_out(command, &mut office).await;
    office.close().await;
    done
}

async fn carry_out(command: Command, office: &mut Office) -> Result<String, Error> {
    match command {
        Command::List { json } => {
            let agents = office.agents().await?;
            if json {
                return table::json(&agents);
            }
            let rows: Vec<_> = agents.data.iter().map(row).collect();
            Ok(table::or_sentence(&HEAD, &rows, "No machines. Bring one in with: gpuf-s join-token create"))
        }
        Command::Revoke { id, json } => {
            let revoked = office.revoke_agent(id).await?;
            if json { table::json(&revoked) } else { Ok(format!("Revoked agent {id}.\n")) }
        }
    }
}

const HEAD: [&str; 7] = ["ID", "NAME", "STATE", "ENGINES", "MODELS", "IN USE", "ROUND TRIP"];

fn row(agent: &AgentView) -> Vec<String> {
    let engines: Vec<_> = agent.engines.iter().map(|engine| engine.kind.as_str()).collect();
    let mut models: Vec<_> =
        agent.engines.iter().flat_map(|engine| &engine.models).map(|model| model.name.as_str()).collect();
    models.sort_unstable();
    models.dedup();
    let sum = |count: fn(&crate::api::EngineView) -> u32| {
        agent.engines.iter().map(count).map(u64::from).sum::<u64>()
    };
    vec![
        agent.id.to_string(),
        agent.name.clone(),
        agent.state.clone(),
        or_dash((!engines.is_empty()).then(|| engines.join(","))),
        or_dash((!models.is_empty()).then(|| short_list(&models))),
        format!("{}/{}", sum(|engine| engine.in_flight), sum(|engine| engine.slots)),
        or_dash(agent.round_trip_ms.map(|ms| format!("{ms:.1} ms"))),
    ]
}

/// Some engines have hundreds; the JSON has them all.
fn short_list(models: &[&str]) -> String {
    const SHOWN: usize = 3;
    match models.len().saturating_sub(SHOWN) {
        0 => models.join(","),
        more => format!("{},… and {more} more", models[..SHOWN].join(",")),
    }
}
