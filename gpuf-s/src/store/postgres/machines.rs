//! Join tokens, and the agents that came in with them.

use common::AgentId;
use sqlx::{Connection as _, PgConnection};

use super::{Lease, Postgres, statements::statements};
use crate::store::{
    AgentRow, Enrolment, Error, Name, TokenHash, TokenId, TokenRow, UnixSeconds,
    columns::{Agent, Token},
};

statements! {
    INSERT_TOKEN = "INSERT INTO join_tokens (id, name, hash, owner, uses_left, created_unix, expires_unix, \
                    revoked_unix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    TOKENS = "SELECT id, name, hash, owner, uses_left, created_unix, expires_unix, revoked_unix \
              FROM join_tokens ORDER BY created_unix, id";
    REVOKE_TOKEN = "UPDATE join_tokens SET revoked_unix = coalesce(revoked_unix, $2) WHERE id = $1";
    SPEND = "UPDATE join_tokens SET uses_left = uses_left - 1 \
             WHERE hash = $1 AND uses_left > 0 AND revoked_unix IS NULL AND expires_unix > $2 RETURNING owner";
    INSERT_AGENT = "INSERT INTO agents (id, name, owner, enrolled_unix) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (id) DO NOTHING";
    AGENTS = "SELECT id, name, owner, enrolled_unix, revoked_unix FROM agents ORDER BY enrolled_unix, id";
    AGENT = "SELECT id, name, owner, enrolled_unix, revoked_unix FROM agents WHERE id = $1";
    REVOKE_AGENT = "UPDATE agents SET revoked_unix = coalesce(revoked_unix, $2) WHERE id = $1";
}

impl Postgres {
    pub(in crate::store) async fn insert_join_token(&self, token: &TokenRow) -> Result<(), Error> {
        let insert = sqlx::query(INSERT_TOKEN)
            .bind(token.id.to_i64())
            .bind(token.name.as_str())
            .bind(token.hash.as_bytes().as_slice())
            .bind(token.owner.as_ref().map(Name::as_str))
            .bind(i64::from(token.uses_left))
            .bind(token.created.0)
            .bind(token.expires.0)
            .bind(token.revoked.map(|at| at.0));
        self.execute(insert).await.map(|_| ())
    }

    pub(in crate::store) async fn join_tokens(&self) -> Result<Vec<TokenRow>, Error> {
        self.all(sqlx::query_as::<_, Token>(TOKENS)).await?.into_iter().map(TokenRow::try_from).collect()
    }

    pub(in crate::store) async fn revoke_join_token(
        &self,
        id: TokenId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(REVOKE_TOKEN).bind(id.to_i64()).bind(now.0)).await? > 0)
    }

    pub(in crate::store) async fn enrol(
        &self,
        token: &TokenHash,
        agent: &AgentRow,
    ) -> Result<Enrolment, Error> {
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            let mut work = desk.begin().await?;
            let outcome = spend_and_insert(&mut work, token, agent).await?;
            match outcome {
                Enrolment::Done => work.commit().await?,
                Enrolment::BadToken | Enrolment::IdTaken => work.rollback().await?,
            }
            Ok(desk.done(outcome))
        })
        .await
    }

    pub(in crate::store) async fn agents(&self) -> Result<Vec<AgentRow>, Error> {
        self.all(sqlx::query_as::<_, Agent>(AGENTS)).await?.into_iter().map(AgentRow::try_from).collect()
    }

    pub(in crate::store) async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, Error> {
        let query = sqlx::query_as::<_, Agent>(AGENT).bind(id.as_bytes().as_slice());
        self.optional(query).await?.map(AgentRow::try_from).transpose()
    }

    pub(in crate::store) async fn revoke_agent(&self, id: AgentId, now: UnixSeconds) -> Result<bool, Error> {
        let update = sqlx::query(REVOKE_AGENT).bind(id.as_bytes().as_slice()).bind(now.0);
        Ok(self.execute(update).await? > 0)
    }
}

/// The row of the token stays locked until the transaction ends: who comes second sees one use less.
async fn spend_and_insert(
    work: &mut PgConnection,
    token: &TokenHash,
    agent: &AgentRow,
) -> Result<Enrolment, sqlx::Error> {
    let spend = sqlx::query_as::<_, (Option<String>,)>(SPEND);
    let spent =
        spend.bind(token.as_bytes().as_slice()).bind(agent.enrolled.0).fetch_optional(&mut *work).await?;
    let Some((owner,)) = spent else { return Ok(Enrolment::BadToken) };
    let insert = sqlx::query(INSERT_AGENT)
        .bind(agent.id.as_bytes().as_slice())
        .bind(agent.name.as_str())
        .bind(owner)
        .bind(agent.enrolled.0);
    let made = insert.execute(work).await?.rows_affected() > 0;
    Ok(if made { Enrolment::Done } else { Enrolment::IdTaken })
}
