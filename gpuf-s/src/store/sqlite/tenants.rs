//! Tenants, and the keys and join tokens that are theirs.

use super::{Sqlite, in_time};
use crate::store::{
    Error, KeyHash, KeyId, Name, OwnedKey, Scope, TenantHash, TenantId, TenantRow, TokenId, TokenRow,
    UnixSeconds,
    columns::{OwnedKeyColumns, TenantColumns, Token, access_columns, exact, key_hash, models_json},
};

impl Sqlite {
    pub(in crate::store) async fn insert_tenant(&self, tenant: &TenantRow) -> Result<(), Error> {
        let insert = sqlx::query(
            "INSERT INTO tenants (id, name, hash, prefix, created_unix, revoked_unix) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant.id.to_i64())
        .bind(tenant.name.as_str())
        .bind(tenant.hash.as_bytes().as_slice())
        .bind(exact(&tenant.prefix)?)
        .bind(tenant.created.0)
        .bind(tenant.revoked.map(|at| at.0));
        in_time(insert.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        let query = sqlx::query_as::<_, TenantColumns>("SELECT * FROM tenants ORDER BY created_unix, id");
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(TenantRow::try_from).collect()
    }

    pub(in crate::store) async fn tenant_by_hash(
        &self,
        hash: &TenantHash,
    ) -> Result<Option<TenantRow>, Error> {
        let query = sqlx::query_as::<_, TenantColumns>("SELECT * FROM tenants WHERE hash = ?");
        let row = in_time(query.bind(hash.as_bytes().as_slice()).fetch_optional(&self.desk)).await?;
        row.map(TenantRow::try_from).transpose()
    }

    pub(in crate::store) async fn revoke_tenant(
        &self,
        id: TenantId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update = sqlx::query("UPDATE tenants SET revoked_unix = coalesce(revoked_unix, ?) WHERE id = ?")
            .bind(now.0)
            .bind(id.to_i64());
        Ok(in_time(update.execute(&self.desk)).await?.rows_affected() > 0)
    }

    pub(in crate::store) async fn insert_owned_key(&self, key: &OwnedKey) -> Result<(), Error> {
        let OwnedKey { row, tenant } = key;
        let (access, owner) = access_columns(&row.access);
        let insert = sqlx::query(
            "INSERT INTO api_keys (id, name, hash, prefix, models, owner, access, created_unix, \
             expires_unix, revoked_unix, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row.id.to_i64())
        .bind(row.name.as_str())
        .bind(row.hash.as_bytes().as_slice())
        .bind(exact(&row.prefix)?)
        .bind(models_json(&row.models)?)
        .bind(owner)
        .bind(access)
        .bind(row.created.0)
        .bind(row.expires.map(|at| at.0))
        .bind(row.revoked.map(|at| at.0))
        .bind(tenant.as_ref().map(Name::as_str));
        in_time(insert.execute(&self.desk)).await.map(|_| ())
    }

    pub(in crate::store) async fn keys_within(&self, scope: &Scope) -> Result<Vec<OwnedKey>, Error> {
        let query = sqlx::query_as::<_, OwnedKeyColumns>(
            "SELECT * FROM api_keys WHERE (?1 IS NULL OR tenant = ?1) ORDER BY created_unix, id",
        );
        in_time(query.bind(scope.text()).fetch_all(&self.desk))
            .await?
            .into_iter()
            .map(OwnedKey::try_from)
            .collect()
    }

    pub(in crate::store) async fn revoke_key_within(
        &self,
        scope: &Scope,
        id: KeyId,
        now: UnixSeconds,
    ) -> Result<Option<KeyHash>, Error> {
        let query = sqlx::query_as::<_, (Vec<u8>,)>(
            "UPDATE api_keys SET revoked_unix = coalesce(revoked_unix, ?1) \
             WHERE id = ?2 AND (?3 IS NULL OR tenant = ?3) RETURNING hash",
        );
        let query = query.bind(now.0).bind(id.to_i64()).bind(scope.text());
        let row = in_time(query.fetch_optional(&self.desk)).await?;
        row.map(|(hash,)| key_hash(hash)).transpose()
    }

    pub(in crate::store) async fn join_tokens_within(&self, scope: &Scope) -> Result<Vec<TokenRow>, Error> {
        let query = sqlx::query_as::<_, Token>(
            "SELECT * FROM join_tokens WHERE (?1 IS NULL OR owner = ?1) ORDER BY created_unix, id",
        );
        in_time(query.bind(scope.text()).fetch_all(&self.desk))
            .await?
            .into_iter()
            .map(TokenRow::try_from)
            .collect()
    }

    pub(in crate::store) async fn revoke_join_token_within(
        &self,
        scope: &Scope,
        id: TokenId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update = sqlx::query(
            "UPDATE join_tokens SET revoked_unix = coalesce(revoked_unix, ?1) \
             WHERE id = ?2 AND (?3 IS NULL OR owner = ?3)",
        )
        .bind(now.0)
        .bind(id.to_i64())
        .bind(scope.text());
        Ok(in_time(update.execute(&self.desk)).await?.rows_affected() > 0)
    }
}
