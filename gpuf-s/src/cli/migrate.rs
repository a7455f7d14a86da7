//! `migrate`: brings the database to what this version expects, without starting a server.

use super::{Error, table};
use crate::{
    config::Config,
    store::{Migrations, Step},
};

pub(super) async fn execute(dry_run: bool, config: &Config) -> Result<String, Error> {
    let mut migrations = Migrations::open(&config.state.database, &config.data_dir, !dry_run).await?;
    let steps = migrations.steps().await?;
    let missing: Vec<_> = steps.iter().filter(|step| !step.is_applied).collect();
    for step in &missing {
        if dry_run {
            table::print(&line(step, "would be applied"))?;
        } else {
            let took = migrations.apply(step).await?;
            table::print(&line(step, &format!("applied in {} ms", took.as_millis())))?;
        }
    }
    let (count, all) = (missing.len(), steps.len());
    Ok(match (count, dry_run) {
        (0, _) => format!("Nothing to do: the database has all of {all}.\n"),
        (_, true) => format!("Missing {count} of {all}; nothing was changed.\n"),
        (_, false) => format!("Applied {count}: the database has all of {all}.\n"),
    })
}

fn line(step: &Step, what: &str) -> String {
    format!("{:04} {}: {what}\n", step.version, step.name)
}
