//! The servers that share the database, and the agents that were put out of late.

use common::AgentId;

use super::{Sqlite, in_time};
use crate::store::{
    Error, ServerRow, UnixSeconds,
    columns::{Server, agent_id},
    servers::{FORGOTTEN_AFTER, agents_column},
};

impl Sqlite {
    pub(in crate::store) async fn put_server(&self, server: &ServerRow) -> Result<(), Error> {
        let put = sqlx::query(
            "INSERT OR REPLACE INTO servers (id, name, version, control, public, api, fingerprint, started_unix, \
             seen_unix_ms, agents) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(server.id.as_slice())
        .bind(&server.name)
        .bind(&server.version)
        .bind(&server.control)
        .bind(&server.public)
        .bind(&server.api)
        .bind(&server.fingerprint)
        .bind(server.started.0)
        .bind(server.seen_unix_ms.cast_signed())
        .bind(agents_column(&server.agents));
        in_time(put.execute(&self.desk)).await?;
        let forgotten = server.seen_unix_ms.saturating_sub(FORGOTTEN_AFTER.as_millis() as u64);
        let forget = sqlx::query("DELETE FROM servers WHERE seen_unix_ms < ?").bind(forgotten.cast_signed());
        in_time(forget.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn touch_server(
        &self,
        id: [u8; 16],
        seen_unix_ms: u64,
    ) -> Result<bool, Error> {
        let touch = sqlx::query("UPDATE servers SET seen_unix_ms = ? WHERE id = ?")
            .bind(seen_unix_ms.cast_signed())
            .bind(id.as_slice());
        Ok(in_time(touch.execute(&self.desk)).await?.rows_affected() > 0)
    }

    pub(in crate::store) async fn servers(&self, since_unix_ms: u64) -> Result<Vec<ServerRow>, Error> {
        let query = sqlx::query_as::<_, Server>(
            "SELECT id, name, version, control, public, api, fingerprint, started_unix, seen_unix_ms, agents \
             FROM servers WHERE seen_unix_ms >= ? ORDER BY name, id",
        );
        let rows = in_time(query.bind(since_unix_ms.cast_signed()).fetch_all(&self.desk)).await?;
        rows.into_iter().map(ServerRow::try_from).collect()
    }

    pub(in crate::store) async fn remove_server(&self, id: [u8; 16]) -> Result<(), Error> {
        let remove = sqlx::query("DELETE FROM servers WHERE id = ?").bind(id.as_slice());
        in_time(remove.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn agents_revoked_since(
        &self,
        at: UnixSeconds,
    ) -> Result<Vec<AgentId>, Error> {
        let query = sqlx::query_as::<_, (Vec<u8>,)>("SELECT id FROM agents WHERE revoked_unix >= ?");
        let rows = in_time(query.bind(at.0).fetch_all(&self.desk)).await?;
        rows.iter().map(|(id,)| agent_id(id)).collect()
    }
}
