//! Keys of callers.

use super::{Sqlite, in_time};
use crate::store::{
    Error, KeyHash, KeyId, KeyRow, UnixSeconds,
    columns::{Key, access_columns, exact, key_hash, models_json},
};

impl Sqlite {
    pub(in crate::store) async fn insert_key(&self, key: &KeyRow) -> Result<(), Error> {
        let (access, owner) = access_columns(&key.access);
        let insert = sqlx::query(
            "INSERT INTO api_keys (id, name, hash, prefix, models, owner, access, created_unix, \
             expires_unix, revoked_unix) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
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
        in_time(insert.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        let query = sqlx::query_as::<_, Key>("SELECT * FROM api_keys ORDER BY created_unix, id");
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(KeyRow::try_from).collect()
    }

    pub(in crate::store) async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRow>, Error> {
        let query = sqlx::query_as::<_, Key>("SELECT * FROM api_keys WHERE hash = ?");
        let row = in_time(query.bind(hash.as_bytes().as_slice()).fetch_optional(&self.desk)).await?;
        row.map(KeyRow::try_from).transpose()
    }

    pub(in crate::store) async fn revoke_key(
        &self,
        id: KeyId,
        now: UnixSeconds,
    ) -> Result<Option<KeyHash>, Error> {
        let query = sqlx::query_as::<_, (Vec<u8>,)>(
            "UPDATE api_keys SET revoked_unix = coalesce(revoked_unix, ?) WHERE id = ? RETURNING hash",
        );
        let row = in_time(query.bind(now.0).bind(id.to_i64()).fetch_optional(&self.desk)).await?;
        row.map(|(hash,)| key_hash(hash)).transpose()
    }

    pub(in crate::store) async fn revoked_since(&self, at: UnixSeconds) -> Result<Vec<KeyHash>, Error> {
        let query = sqlx::query_as::<_, (Vec<u8>,)>(
            "SELECT hash FROM api_keys WHERE revoked_unix >= ? ORDER BY revoked_unix, hash",
        );
        let rows = in_time(query.bind(at.0).fetch_all(&self.desk)).await?;
        rows.into_iter().map(|(hash,)| key_hash(hash)).collect()
    }
}
