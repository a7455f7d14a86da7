//! Keys of callers.

use sqlx::FromRow;

use super::{Sqlite, in_time};
use crate::store::{Access, Error, KeyHash, KeyId, KeyRow, Models, UnixSeconds};

#[derive(FromRow)]
pub(super) struct Row {
    id: i64,
    name: String,
    hash: Vec<u8>,
    prefix: String,
    models: Option<String>,
    owner: Option<String>,
    access: String,
    created_unix: i64,
    expires_unix: Option<i64>,
    revoked_unix: Option<i64>,
}

impl Sqlite {
    pub(in crate::store) async fn insert_key(&self, key: &KeyRow) -> Result<(), Error> {
        let (access, owner) = match &key.access {
            Access::Shared => ("shared", None),
            Access::Dedicated(owner) => ("dedicated", Some(owner.as_str())),
        };
        let insert = sqlx::query(
            "INSERT INTO api_keys (id, name, hash, prefix, models, owner, access, created_unix, \
             expires_unix, revoked_unix) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.id.to_i64())
        .bind(key.name.as_str())
        .bind(key.hash.as_bytes().as_slice())
        .bind(&key.prefix)
        .bind(models_json(&key.models)?)
        .bind(owner)
        .bind(access)
        .bind(key.created.0)
        .bind(key.expires.map(|at| at.0))
        .bind(key.revoked.map(|at| at.0));
        in_time(insert.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        let query = sqlx::query_as::<_, Row>("SELECT * FROM api_keys ORDER BY created_unix, id");
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(KeyRow::try_from).collect()
    }

    pub(in crate::store) async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRow>, Error> {
        let query = sqlx::query_as::<_, Row>("SELECT * FROM api_keys WHERE hash = ?");
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
}

impl TryFrom<Row> for KeyRow {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: KeyId::from_i64(row.id),
            name: row.name.parse().map_err(|_| Error::Corrupt("a key's name"))?,
            hash: key_hash(row.hash)?,
            prefix: row.prefix,
            models: models(row.models.as_deref())?,
            access: access(&row.access, row.owner)?,
            created: UnixSeconds(row.created_unix),
            expires: row.expires_unix.map(UnixSeconds),
            revoked: row.revoked_unix.map(UnixSeconds),
        })
    }
}

pub(super) fn key_hash(bytes: Vec<u8>) -> Result<KeyHash, Error> {
    bytes.try_into().map(KeyHash::from_bytes).map_err(|_| Error::Corrupt("a key's hash"))
}

pub(super) fn models_json(models: &Models) -> Result<Option<String>, Error> {
    match models {
        Models::All => Ok(None),
        list => serde_json::to_string(list).map(Some).map_err(|_| Error::Corrupt("a key's models")),
    }
}

/// A list that does not read back is an error: taken for "all" it would open every model.
fn models(json: Option<&str>) -> Result<Models, Error> {
    let Some(json) = json else { return Ok(Models::All) };
    match serde_json::from_str(json) {
        Ok(list @ Models::List(_)) => Ok(list),
        _ => Err(Error::Corrupt("a key's models")),
    }
}

fn access(access: &str, owner: Option<String>) -> Result<Access, Error> {
    let owner = owner.map(|owner| owner.parse().map_err(|_| Error::Corrupt("a key's owner"))).transpose()?;
    match (access, owner) {
        ("shared", _) => Ok(Access::Shared),
        ("dedicated", Some(owner)) => Ok(Access::Dedicated(owner)),
        _ => Err(Error::Corrupt("a key's access")),
    }
}
