//! Agents as they are listed, found and edited.

use common::AgentId;

use super::{Sqlite, in_time};
use crate::store::{
    AGENTS_PAGE_ROWS_MAX, AgentEdit, AgentEntry, Among, EntryFilter, Error, Name, Scope, UnixSeconds,
    columns::{EntryColumns, exact, json},
};

impl Sqlite {
    pub(in crate::store) async fn agent_entries(
        &self,
        filter: &EntryFilter,
    ) -> Result<Vec<AgentEntry>, Error> {
        let (inside, ids) = among(&filter.among);
        let query = sqlx::query_as::<_, EntryColumns>(
            "SELECT a.id, a.name, a.owner, a.enrolled_unix, a.revoked_unix, f.at_unix_ms, f.name AS told_name, \
             f.version, f.os, f.arch, f.labels, f.location, f.address, c.taken_unix_ms, \
             coalesce(c.online, 0) AS online, a.shown_name, a.shown_labels, a.shown_location \
             FROM agents a LEFT JOIN agent_facts f ON f.agent_id = a.id \
             LEFT JOIN agent_counters c ON c.agent_id = a.id \
             WHERE (?1 IS NULL OR a.owner = ?1) AND (?2 IS NULL OR a.id = ?2) AND (?3 IS NULL OR a.owner = ?3) \
             AND (?4 IS NULL OR instr(lower(coalesce(a.shown_name, f.name, a.name)), lower(?4)) > 0) \
             AND (?5 IS NULL OR a.enrolled_unix >= ?5) AND (?6 IS NULL OR a.enrolled_unix < ?6) \
             AND (?7 IS NULL OR (a.id IN (SELECT unhex(value) FROM json_each(?7))) = ?8) \
             AND (?9 IS NULL OR a.id > ?9) AND (?10 IS NULL OR (a.revoked_unix IS NOT NULL) = ?10) \
             ORDER BY a.id LIMIT ?11",
        )
        .bind(filter.scope.text())
        .bind(filter.id.map(|id| id.as_bytes().to_vec()))
        .bind(filter.owner.as_ref().map(Name::as_str))
        .bind(filter.name.as_deref().map(exact).transpose()?)
        .bind(filter.enrolled_from.map(|at| at.0))
        .bind(filter.enrolled_before.map(|at| at.0))
        .bind(ids)
        .bind(inside)
        .bind(filter.after.map(|id| id.as_bytes().to_vec()))
        .bind(filter.revoked)
        .bind(filter.limit.min(AGENTS_PAGE_ROWS_MAX));
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(AgentEntry::try_from).collect()
    }

    pub(in crate::store) async fn edit_agent(
        &self,
        scope: &Scope,
        id: AgentId,
        edit: &AgentEdit,
    ) -> Result<bool, Error> {
        let labels = edit.labels.as_ref().map(|labels| labels.as_ref().map(json).transpose());
        let labels = labels.transpose()?;
        let location = edit.location.as_ref().and_then(|location| location.as_deref().map(exact));
        let update = sqlx::query(
            "UPDATE agents SET shown_name = iif(?1, ?2, shown_name), \
             shown_labels = iif(?3, ?4, shown_labels), shown_location = iif(?5, ?6, shown_location), \
             owner = iif(?7, ?8, owner) WHERE id = ?9 AND (?10 IS NULL OR owner = ?10)",
        )
        .bind(edit.name.is_some())
        .bind(edit.name.iter().flatten().next().map(Name::as_str))
        .bind(labels.is_some())
        .bind(labels.flatten())
        .bind(edit.location.is_some())
        .bind(location.transpose()?)
        .bind(edit.owner.is_some())
        .bind(edit.owner.iter().flatten().next().map(Name::as_str))
        .bind(id.as_bytes().as_slice())
        .bind(scope.text());
        Ok(in_time(update.execute(&self.desk)).await?.rows_affected() > 0)
    }

    pub(in crate::store) async fn revoke_agent_within(
        &self,
        scope: &Scope,
        id: AgentId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update = sqlx::query(
            "UPDATE agents SET revoked_unix = coalesce(revoked_unix, ?1) \
             WHERE id = ?2 AND (?3 IS NULL OR owner = ?3)",
        )
        .bind(now.0)
        .bind(id.as_bytes().as_slice())
        .bind(scope.text());
        Ok(in_time(update.execute(&self.desk)).await?.rows_affected() > 0)
    }
}

/// Whether ids must be in the list, and the list as JSON; none where there is no such condition.
fn among(among: &Among) -> (bool, Option<String>) {
    match among {
        Among::All => (true, None),
        Among::These(ids) => (true, Some(json_list(ids))),
        Among::Others(ids) => (false, Some(json_list(ids))),
    }
}

/// Ids as a JSON array of their digits.
pub(super) fn json_list(ids: &[AgentId]) -> String {
    let quoted: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", quoted.join(","))
}
