//! Keys of callers.

use super::{Postgres, statements::statements};
use crate::store::{
    Error, KeyHash, KeyId, KeyRow, UnixSeconds,
    columns::{Key, access_columns, exact, key_hash, models_json},
};

statements! {
    INSERT = "INSERT INTO api_keys (id, name, hash, prefix, models, owner, access, created_unix, expires_unix, \
              revoked_unix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    ALL = "SELECT id, name, hash, prefix, models, owner, access, created_unix, expires_unix, revoked_unix \
           FROM api_keys ORDER BY created_unix, id";
    BY_HASH = "SELECT id, name, hash, prefix, models, owner, access, created_unix, expires_unix, revoked_unix \
               FROM api_keys WHERE hash = $1";
    REVOKE = "UPDATE api_keys SET revoked_unix = coalesce(revoked_unix, $2) WHERE id = $1 RETURNING hash";
    REVOKED_SINCE = "SELECT hash FROM api_keys WHERE revoked_unix >= $1 ORDER BY revoked_unix, hash";
}

impl Postgres {
    pub(in crate::store) async fn insert_key(&self, key: &KeyRow) -> Result<(), Error> {
        let (access, owner) = access_columns(&key.access);
        let insert = sqlx::query(INSERT)
            .bind(key.id.to_i64())
            .bind(key.name.as_str())
            .bind(key.hash.as_bytes().as_slice())
            .bind(exact(&key.prefix)?)
            .bind(models_json(&key.models)?)
            .bind(owner)
            .bind(access)
            .bind(key.created.0)
            .bind(key.expires.map(|at| at.0))
            .bind(key.revoked.map(|at| at.0));
        self.execute(insert).await.map(|_| ())
    }

    pub(in crate::store) async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        self.all(sqlx::query_as::<_, Key>(ALL)).await?.into_iter().map(KeyRow::try_from).collect()
    }

    pub(in crate::store) async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRow>, Error> {
        let query = sqlx::query_as::<_, Key>(BY_HASH).bind(hash.as_bytes().as_slice());
        self.optional(query).await?.map(KeyRow::try_from).transpose()
    }

    pub(in crate::store) async fn revoke_key(
        &self,
        id: KeyId,
        now: UnixSeconds,
    ) -> Result<Option<KeyHash>, Error> {
        let query = sqlx::query_as::<_, (Vec<u8>,)>(REVOKE).bind(id.to_i64()).bind(now.0);
        self.optional(query).await?.map(|(hash,)| key_hash(hash)).transpose()
    }

    pub(in crate::store) async fn revoked_since(&self, at: UnixSeconds) -> Result<Vec<KeyHash>, Error> {
        let rows = self.all(sqlx::query_as::<_, (Vec<u8>,)>(REVOKED_SINCE).bind(at.0)).await?;
        rows.into_iter().map(|(hash,)| key_hash(hash)).collect()
    }
}
