//! The servers that share the database, and the agents that were put out of late.

use common::AgentId;

use super::{Postgres, statements::statements};
use crate::store::{
    Error, ServerRow, UnixSeconds,
    columns::{Server, agent_id, exact},
    servers::{FORGOTTEN_AFTER, agents_column},
};

statements! {
    PUT_SERVER = "INSERT INTO servers (id, name, version, control, public, api, fingerprint, started_unix, \
                  seen_unix_ms, agents) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) \
                  DO UPDATE SET name = excluded.name, version = excluded.version, control = excluded.control, \
                  public = excluded.public, api = excluded.api, fingerprint = excluded.fingerprint, \
                  started_unix = excluded.started_unix, seen_unix_ms = excluded.seen_unix_ms, \
                  agents = excluded.agents";
    FORGET_SERVERS = "DELETE FROM servers WHERE seen_unix_ms < $1";
    TOUCH_SERVER = "UPDATE servers SET seen_unix_ms = $2 WHERE id = $1";
    SERVERS = "SELECT id, name, version, control, public, api, fingerprint, started_unix, seen_unix_ms, agents \
               FROM servers WHERE seen_unix_ms >= $1 ORDER BY name, id";
    REMOVE_SERVER = "DELETE FROM servers WHERE id = $1";
    AGENTS_REVOKED = "SELECT id FROM agents WHERE revoked_unix >= $1";
}

impl Postgres {
    pub(in crate::store) async fn put_server(&self, server: &ServerRow) -> Result<(), Error> {
        let put = sqlx::query(PUT_SERVER)
            .bind(server.id.as_slice())
            .bind(exact(&server.name)?)
            .bind(exact(&server.version)?)
            .bind(exact(&server.control)?)
            .bind(exact(&server.public)?)
            .bind(exact(&server.api)?)
            .bind(exact(&server.fingerprint)?)
            .bind(server.started.0)
            .bind(server.seen_unix_ms.cast_signed())
            .bind(agents_column(&server.agents));
        self.execute(put).await?;
        let forgotten = server.seen_unix_ms.saturating_sub(FORGOTTEN_AFTER.as_millis() as u64);
        self.execute(sqlx::query(FORGET_SERVERS).bind(forgotten.cast_signed())).await.map(|_| ())
    }

    pub(in crate::store) async fn touch_server(
        &self,
        id: [u8; 16],
        seen_unix_ms: u64,
    ) -> Result<bool, Error> {
        let touch = sqlx::query(TOUCH_SERVER).bind(id.as_slice()).bind(seen_unix_ms.cast_signed());
        Ok(self.execute(touch).await? > 0)
    }

    pub(in crate::store) async fn servers(&self, since_unix_ms: u64) -> Result<Vec<ServerRow>, Error> {
        let query = sqlx::query_as::<_, Server>(SERVERS).bind(since_unix_ms.cast_signed());
        self.all(query).await?.into_iter().map(ServerRow::try_from).collect()
    }

    pub(in crate::store) async fn remove_server(&self, id: [u8; 16]) -> Result<(), Error> {
        self.execute(sqlx::query(REMOVE_SERVER).bind(id.as_slice())).await.map(|_| ())
    }

    pub(in crate::store) async fn agents_revoked_since(
        &self,
        at: UnixSeconds,
    ) -> Result<Vec<AgentId>, Error> {
        let rows = self.all(sqlx::query_as::<_, (Vec<u8>,)>(AGENTS_REVOKED).bind(at.0)).await?;
        rows.iter().map(|(id,)| agent_id(id)).collect()
    }
}
