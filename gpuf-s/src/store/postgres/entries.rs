//! Agents as they are listed, found and edited.

use common::AgentId;

use super::{Postgres, statements::statements};
use crate::store::{
    AGENTS_PAGE_ROWS_MAX, AgentEdit, AgentEntry, Among, EntryFilter, Error, Name, Scope, UnixSeconds,
    columns::{EntryColumns, exact, json},
};

statements! {
    ENTRIES = "SELECT a.id, a.name, a.owner, a.enrolled_unix, a.revoked_unix, f.at_unix_ms, \
               f.name AS told_name, f.version, f.os, f.arch, f.labels::text AS labels, f.location, f.address, \
               c.taken_unix_ms, coalesce(c.online, FALSE) AS online, a.shown_name, a.shown_labels, \
               a.shown_location FROM agents a LEFT JOIN agent_facts f ON f.agent_id = a.id \
               LEFT JOIN agent_counters c ON c.agent_id = a.id \
               WHERE ($1::text IS NULL OR a.owner = $1) AND ($2::bytea IS NULL OR a.id = $2) \
               AND ($3::text IS NULL OR a.owner = $3) AND ($4::text IS NULL \
               OR strpos(lower(coalesce(a.shown_name, f.name, a.name)), lower($4 COLLATE \"C\")) > 0) \
               AND ($5::bigint IS NULL OR a.enrolled_unix >= $5) \
               AND ($6::bigint IS NULL OR a.enrolled_unix < $6) \
               AND ($7::bytea[] IS NULL OR (a.id = ANY ($7)) = $8) AND ($9::bytea IS NULL OR a.id > $9) \
               AND ($10::boolean IS NULL OR (a.revoked_unix IS NOT NULL) = $10) ORDER BY a.id LIMIT $11";
    EDIT = "UPDATE agents SET shown_name = CASE WHEN $1 THEN $2 ELSE shown_name END, \
            shown_labels = CASE WHEN $3 THEN $4 ELSE shown_labels END, \
            shown_location = CASE WHEN $5 THEN $6 ELSE shown_location END, \
            owner = CASE WHEN $7 THEN $8 ELSE owner END WHERE id = $9 AND ($10::text IS NULL OR owner = $10)";
    REVOKE = "UPDATE agents SET revoked_unix = coalesce(revoked_unix, $2) \
              WHERE id = $1 AND ($3::text IS NULL OR owner = $3)";
}

impl Postgres {
    pub(in crate::store) async fn agent_entries(
        &self,
        filter: &EntryFilter,
    ) -> Result<Vec<AgentEntry>, Error> {
        let (inside, ids) = match &filter.among {
            Among::All => (true, None),
            Among::These(ids) => (true, Some(ids)),
            Among::Others(ids) => (false, Some(ids)),
        };
        let bytes = |id: AgentId| id.as_bytes().to_vec();
        let query = sqlx::query_as::<_, EntryColumns>(ENTRIES)
            .bind(filter.scope.text())
            .bind(filter.id.map(bytes))
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(filter.name.as_deref().map(exact).transpose()?)
            .bind(filter.enrolled_from.map(|at| at.0))
            .bind(filter.enrolled_before.map(|at| at.0))
            .bind(ids.map(|ids| ids.iter().copied().map(bytes).collect::<Vec<_>>()))
            .bind(inside)
            .bind(filter.after.map(bytes))
            .bind(filter.revoked)
            .bind(i64::from(filter.limit.min(AGENTS_PAGE_ROWS_MAX)));
        self.all(query).await?.into_iter().map(AgentEntry::try_from).collect()
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
        let update = sqlx::query(EDIT)
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
        Ok(self.execute(update).await? > 0)
    }

    pub(in crate::store) async fn revoke_agent_within(
        &self,
        scope: &Scope,
        id: AgentId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update = sqlx::query(REVOKE).bind(id.as_bytes().as_slice()).bind(now.0).bind(scope.text());
        Ok(self.execute(update).await? > 0)
    }
}
