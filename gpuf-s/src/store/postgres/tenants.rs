//! Tenants, and the keys and join tokens that are theirs.

use super::{Postgres, statements::statements};
use crate::store::{
    Error, KeyHash, KeyId, Name, OwnedKey, Scope, TenantHash, TenantId, TenantRow, TokenId, TokenRow,
    UnixSeconds,
    columns::{OwnedKeyColumns, TenantColumns, Token, access_columns, exact, key_hash, models_json},
};

statements! {
    INSERT = "INSERT INTO tenants (id, name, hash, prefix, created_unix, revoked_unix) \
              VALUES ($1, $2, $3, $4, $5, $6)";
    ALL = "SELECT id, name, hash, prefix, created_unix, revoked_unix FROM tenants ORDER BY created_unix, id";
    BY_HASH = "SELECT id, name, hash, prefix, created_unix, revoked_unix FROM tenants WHERE hash = $1";
    REVOKE = "UPDATE tenants SET revoked_unix = coalesce(revoked_unix, $2) WHERE id = $1";
    INSERT_KEY = "INSERT INTO api_keys (id, name, hash, prefix, models, owner, access, created_unix, expires_unix, \
                  revoked_unix, tenant) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    KEYS = "SELECT id, name, hash, prefix, models, owner, access, created_unix, expires_unix, revoked_unix, tenant \
            FROM api_keys WHERE ($1::text IS NULL OR tenant = $1) ORDER BY created_unix, id";
    REVOKE_KEY = "UPDATE api_keys SET revoked_unix = coalesce(revoked_unix, $2) \
                  WHERE id = $1 AND ($3::text IS NULL OR tenant = $3) RETURNING hash";
    TOKENS = "SELECT id, name, hash, owner, uses_left, created_unix, expires_unix, revoked_unix \
              FROM join_tokens WHERE ($1::text IS NULL OR owner = $1) ORDER BY created_unix, id";
    REVOKE_TOKEN = "UPDATE join_tokens SET revoked_unix = coalesce(revoked_unix, $2) \
                    WHERE id = $1 AND ($3::text IS NULL OR owner = $3)";
}

impl Postgres {
    pub(in crate::store) async fn insert_tenant(&self, tenant: &TenantRow) -> Result<(), Error> {
        let insert = sqlx::query(INSERT)
            .bind(tenant.id.to_i64())
            .bind(tenant.name.as_str())
            .bind(tenant.hash.as_bytes().as_slice())
            .bind(exact(&tenant.prefix)?)
            .bind(tenant.created.0)
            .bind(tenant.revoked.map(|at| at.0));
        self.execute(insert).await.map(|_| ())
    }

    pub(in crate::store) async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        self.all(sqlx::query_as::<_, TenantColumns>(ALL))
            .await?
            .into_iter()
            .map(TenantRow::try_from)
            .collect()
    }

    pub(in crate::store) async fn tenant_by_hash(
        &self,
        hash: &TenantHash,
    ) -> Result<Option<TenantRow>, Error> {
        let query = sqlx::query_as::<_, TenantColumns>(BY_HASH).bind(hash.as_bytes().as_slice());
        self.optional(query).await?.map(TenantRow::try_from).transpose()
    }

    pub(in crate::store) async fn revoke_tenant(
        &self,
        id: TenantId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(REVOKE).bind(id.to_i64()).bind(now.0)).await? > 0)
    }

    pub(in crate::store) async fn insert_owned_key(&self, key: &OwnedKey) -> Result<(), Error> {
        let OwnedKey { row, tenant } = key;
        let (access, owner) = access_columns(&row.access);
        let insert = sqlx::query(INSERT_KEY)
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
        self.execute(insert).await.map(|_| ())
    }

    pub(in crate::store) async fn keys_within(&self, scope: &Scope) -> Result<Vec<OwnedKey>, Error> {
        let query = sqlx::query_as::<_, OwnedKeyColumns>(KEYS).bind(scope.text());
        self.all(query).await?.into_iter().map(OwnedKey::try_from).collect()
    }

    pub(in crate::store) async fn revoke_key_within(
        &self,
        scope: &Scope,
        id: KeyId,
        now: UnixSeconds,
    ) -> Result<Option<KeyHash>, Error> {
        let query = sqlx::query_as::<_, (Vec<u8>,)>(REVOKE_KEY);
        let query = query.bind(id.to_i64()).bind(now.0).bind(scope.text());
        self.optional(query).await?.map(|(hash,)| key_hash(hash)).transpose()
    }

    pub(in crate::store) async fn join_tokens_within(&self, scope: &Scope) -> Result<Vec<TokenRow>, Error> {
        let query = sqlx::query_as::<_, Token>(TOKENS).bind(scope.text());
        self.all(query).await?.into_iter().map(TokenRow::try_from).collect()
    }

    pub(in crate::store) async fn revoke_join_token_within(
        &self,
        scope: &Scope,
        id: TokenId,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update = sqlx::query(REVOKE_TOKEN).bind(id.to_i64()).bind(now.0).bind(scope.text());
        Ok(self.execute(update).await? > 0)
    }
}
