//! `tenants create`, `tenants list`, `tenants revoke`.

use clap::Subcommand;

use super::{
    Error,
    office::Office,
    table::{self, moment, or_dash},
};
use crate::{
    auth::desk::{TenantMade, TenantView, TenantWish},
    config::Config,
    store::{Name, TenantId},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a tenant and show its token, once
    #[command(
        after_help = "Example:\n  gpuf-s tenants create --name lab\n\nThe token opens the management API \
                            (--api-port) for what is the tenant's: its machines, keys, join strings and usage."
    )]
    Create {
        /// What people call it, and the owner of its machines (see join-token create --owner)
        #[arg(long)]
        name: Name,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tenants
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a tenant's token; its machines and keys stay as they are
    Revoke {
        /// The tenant's id, as in the list
        id: TenantId,
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
        Command::Create { name, json } => {
            let made = office.make_tenant(TenantWish { name }).await?;
            if json { table::json(&made) } else { Ok(tell(&made)) }
        }
        Command::List { json } => {
            let tenants = office.tenants().await?;
            if json {
                return table::json(&tenants);
            }
            let rows: Vec<_> = tenants.data.iter().map(row).collect();
            Ok(table::or_sentence(
                &HEAD,
                &rows,
                "No tenants. Make one with: gpuf-s tenants create --name NAME",
            ))
        }
        Command::Revoke { id, json } => {
            let revoked = office.revoke_tenant(id).await?;
            if json { table::json(&revoked) } else { Ok(format!("Revoked tenant {id}.\n")) }
        }
    }
}

fn tell(made: &TenantMade) -> String {
    let (id, name, token) = (made.id, &made.shown.name, &made.token);
    format!("Made tenant {id}, {name}. Nobody can show its token again:\n\n  {token}\n\n")
}

const HEAD: [&str; 6] = ["ID", "NAME", "TOKEN", "STATE", "CREATED", "REVOKED"];

fn row(tenant: &TenantView) -> Vec<String> {
    vec![
        tenant.id.to_string(),
        tenant.name.to_string(),
        format!("{}…", tenant.prefix),
        tenant.state.clone(),
        moment(tenant.created_unix),
        or_dash(tenant.revoked_unix.map(moment)),
    ]
}
