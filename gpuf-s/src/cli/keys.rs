//! `keys create`, `keys list`, `keys revoke`.

use clap::Subcommand;
use common::ModelName;

use super::{
    Error,
    office::Office,
    table::{self, moment, or_dash},
};
use crate::{
    auth::desk::{KeyMade, KeyView, KeyWish},
    config::Config,
    store::{KeyId, Models, Name},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key and show it, once
    #[command(after_help = "Example:\n  gpuf-s keys create --name alice --models llama3.2:1b,qwen3:8b \
                            --expires-in-days 30")]
    Create {
        /// What people call it
        #[arg(long)]
        name: Name,
        /// The models that it may use [default: every model]
        #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
        models: Option<Vec<ModelName>>,
        /// When it ends by itself [default: never]
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
        /// Use only the machines of this owner (see join-token create --owner) [default: every machine]
        #[arg(long, value_name = "OWNER")]
        dedicated_to: Option<Name>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: requests with it are refused at once
    Revoke {
        /// The key's id, as in the list
        id: KeyId,
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
        Command::Create { name, models, expires_in_days, dedicated_to, json } => {
            let made = office.make_key(KeyWish { name, models, expires_in_days, dedicated_to }).await?;
            if json { table::json(&made) } else { Ok(tell(&made)) }
        }
        Command::List { json } => {
            let keys = office.keys().await?;
            if json {
                return table::json(&keys);
            }
            let rows: Vec<_> = keys.data.iter().map(row).collect();
            Ok(table::or_sentence(&HEAD, &rows, "No keys. Make one with: gpuf-s keys create --name NAME"))
        }
        Command::Revoke { id, json } => {
            let revoked = office.revoke_key(id).await?;
            if json { table::json(&revoked) } else { Ok(format!("Revoked key {id}.\n")) }
        }
    }
}

fn tell(made: &KeyMade) -> String {
    format!("Made key {} for {}. Nobody can show it again:\n\n  {}\n\n", made.id, made.shown.name, made.key)
}

const HEAD: [&str; 7] = ["ID", "NAME", "KEY", "STATE", "MODELS", "MACHINES", "EXPIRES"];

fn row(key: &KeyView) -> Vec<String> {
    let models = match &key.models {
        Models::All => "all".to_owned(),
        Models::List(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    vec![
        key.id.to_string(),
        key.name.to_string(),
        format!("{}…", key.prefix),
        key.state.clone(),
        models,
        key.dedicated_to.as_ref().map_or_else(|| "all".to_owned(), |owner| format!("of {owner}")),
        or_dash(key.expires_unix.map(moment)),
    ]
}
