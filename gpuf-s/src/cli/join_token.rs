//! `join-token create`, `join-token list`, `join-token revoke`.

use clap::Subcommand;

use super::{
    Error,
    office::Office,
    table::{self, moment, or_dash},
};
use crate::{
    auth::desk::{TokenMade, TokenView, TokenWish},
    config::Config,
    store::{Name, TokenId},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a join string and show it, once
    #[command(
        after_help = "Example:\n  gpuf-s --advertise gateway.example join-token create --name lab --uses 8"
    )]
    Create {
        /// What people call it
        #[arg(long)]
        name: Option<Name>,
        /// How many machines it lets in [default: 1]
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// How long it works [default: 24]
        #[arg(long, value_name = "HOURS")]
        ttl_hours: Option<u32>,
        /// Who owns the machines that come in with it; keys made with --dedicated-to use only theirs
        #[arg(long, value_name = "OWNER")]
        owner: Option<Name>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the join tokens
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a join token; machines that came in with it stay
    Revoke {
        /// The token's id, as in the list
        id: TokenId,
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
        Command::Create { name, uses, ttl_hours, owner, json } => {
            let made = office.make_token(TokenWish { name, uses, ttl_hours, owner }).await?;
            if json { table::json(&made) } else { Ok(tell(&made)) }
        }
        Command::List { json } => {
            let tokens = office.tokens().await?;
            if json {
                return table::json(&tokens);
            }
            let rows: Vec<_> = tokens.data.iter().map(row).collect();
            Ok(table::or_sentence(&HEAD, &rows, "No join tokens. Make one with: gpuf-s join-token create"))
        }
        Command::Revoke { id, json } => {
            let revoked = office.revoke_token(id).await?;
            if json { table::json(&revoked) } else { Ok(format!("Revoked join token {id}.\n")) }
        }
    }
}

fn tell(made: &TokenMade) -> String {
    let machines = match made.shown.uses_left {
        1 => "once".to_owned(),
        uses => format!("on {uses} machines"),
    };
    format!(
        "Run this on the GPU machine; it works {machines}, until {}:\n\n  gpuf-c join {}\n\n",
        moment(made.shown.expires_unix),
        made.join
    )
}

const HEAD: [&str; 6] = ["ID", "NAME", "STATE", "USES LEFT", "OWNER", "EXPIRES"];

fn row(token: &TokenView) -> Vec<String> {
    vec![
        token.id.to_string(),
        token.name.to_string(),
        token.state.clone(),
        token.uses_left.to_string(),
        or_dash(token.owner.as_ref()),
        moment(token.expires_unix),
    ]
}
