//! Join tokens, and the agents that came in with them.

use common::AgentId;
use sqlx::SqliteConnection;

use super::{Sqlite, in_time};
use crate::store::{
    AgentRow, Enrolment, Error, Name, TokenHash, TokenId, TokenRow, UnixSeconds,
    columns::{Agent, Token},
};

impl Sqlite {
    pub(in crate::store) async fn insert_join_token(&self, token: &TokenRow) -> Result<(), Error> {
        let insert = sqlx::query(
            "INSERT INTO join_tokens (id, name, hash, owner, uses_left, created_unix, expires_unix, \
             revoked_unix) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(token.id.to_i64())
        .bind(token.name.as_str())
        .bind(token.hash.as_bytes().as_slice())
        .bind(token.owner.as_ref().map(Name::as_str))
        .bind(token.uses_left)
        .bind(token.created.0)
        .bind(token.expires.0)
        .bind(token.revoked.map(|at| at.0));
        in_time(insert.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn join_tokens(&self) -> Result<Vec<TokenRow>, Error> {
        let query = sqlx::query_as::<_, Token>("SELECT * FROM join_tokens ORDER BY created_unix, id");
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(TokenRow::try_from).collect()
    }

    pub(in crate::store) async fn revoke_join_token(
        &self,
        id: TokenId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update =
            sqlx::query("UPDATE join_tokens SET revoked_unix = coalesce(revoked_unix, ?) WHERE id = ?")
                .bind(now.0)
                .bind(id.to_i64());
        Ok(in_time(update.execute(&self.desk)).await?.rows_affected() > 0)
    }

    pub(in crate::store) async fn enrol(
        &self,
        token: &TokenHash,
        agent: &AgentRow,
    ) -> Result<Enrolment, Error> {
        in_time(async {
            // Immediate: a transaction that reads first and writes later would fail, not wait, when
            // another writes in between.
            let mut work = self.desk.begin_with("BEGIN IMMEDIATE").await?;
            let outcome = spend_and_insert(&mut work, token, agent).await?;
            match outcome {
                Enrolment::Done => work.commit().await?,
                Enrolment::BadToken | Enrolment::IdTaken => work.rollback().await?,
            }
            Ok(outcome)
        })
        .await
    }

    pub(in crate::store) async fn agents(&self) -> Result<Vec<AgentRow>, Error> {
        let query = sqlx::query_as::<_, Agent>("SELECT * FROM agents ORDER BY enrolled_unix, id");
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(AgentRow::try_from).collect()
    }

    pub(in crate::store) async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, Error> {
        let query = sqlx::query_as::<_, Agent>("SELECT * FROM agents WHERE id = ?");
        let row = in_time(query.bind(id.as_bytes().as_slice()).fetch_optional(&self.desk)).await?;
        row.map(AgentRow::try_from).transpose()
    }

    pub(in crate::store) async fn revoke_agent(&self, id: AgentId, now: UnixSeconds) -> Result<bool, Error> {
        let update = sqlx::query("UPDATE agents SET revoked_unix = coalesce(revoked_unix, ?) WHERE id = ?")
            .bind(now.0)
            .bind(id.as_bytes().as_slice());
        Ok(in_time(update.execute(&self.desk)).await?.rows_affected() > 0)
    }
}

async fn spend_and_insert(
    work: &mut SqliteConnection,
    token: &TokenHash,
    agent: &AgentRow,
) -> Result<Enrolment, sqlx::Error> {
    let spend = sqlx::query_as::<_, (Option<String>,)>(
        "UPDATE join_tokens SET uses_left = uses_left - 1 \
         WHERE hash = ? AND uses_left > 0 AND revoked_unix IS NULL AND expires_unix > ? RETURNING owner",
    );
    let spent =
        spend.bind(token.as_bytes().as_slice()).bind(agent.enrolled.0).fetch_optional(&mut *work).await?;
    let Some((owner,)) = spent else { return Ok(Enrolment::BadToken) };
    let insert = sqlx::query(
        "INSERT INTO agents (id, name, owner, enrolled_unix) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(agent.id.as_bytes().as_slice())
    .bind(agent.name.as_str())
    .bind(owner)
    .bind(agent.enrolled.0);
    let made = insert.execute(work).await?.rows_affected() > 0;
    Ok(if made { Enrolment::Done } else { Enrolment::IdTaken })
}
