//! Models that the operator has described.

use common::{EngineKind, ModelName};

use super::{Postgres, statements::statements};
use crate::store::{
    CATALOGUE_PAGE_ROWS_MAX, CatalogueFilter, Error, KnownModel, UnixSeconds,
    columns::{CatalogueColumns, exact, json, readable},
};

statements! {
    PUT = "INSERT INTO catalogue (name, engines, size_bytes, checksum_sha256, gpu_memory_bytes, description, \
           added_unix, changed_unix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO UPDATE SET \
           engines = excluded.engines, size_bytes = excluded.size_bytes, \
           checksum_sha256 = excluded.checksum_sha256, gpu_memory_bytes = excluded.gpu_memory_bytes, \
           description = excluded.description, changed_unix = excluded.changed_unix RETURNING added_unix";
    PAGE = "SELECT name, engines, size_bytes, checksum_sha256, gpu_memory_bytes, description, added_unix, \
            changed_unix FROM catalogue WHERE ($1::text IS NULL OR name = $1) \
            AND ($2::text IS NULL OR strpos(lower(name), lower($2 COLLATE \"C\")) > 0) \
            AND ($3::text IS NULL OR engines = '[]' OR engines::jsonb ? $3) \
            AND ($4::text IS NULL OR name > $4) ORDER BY name LIMIT $5";
    REMOVE = "DELETE FROM catalogue WHERE name = $1";
}

impl Postgres {
    pub(in crate::store) async fn put_known_model(&self, model: &KnownModel) -> Result<UnixSeconds, Error> {
        let put = sqlx::query_as::<_, (i64,)>(PUT)
            .bind(model.name.as_str())
            .bind(json(&model.engines)?)
            .bind(model.size_bytes.map(u64::cast_signed))
            .bind(model.checksum_sha256.map(|sum| sum.to_vec()))
            .bind(model.gpu_memory_bytes.map(u64::cast_signed))
            .bind(model.description.as_deref().map(readable))
            .bind(model.added.0)
            .bind(model.changed.0);
        let row = self.optional(put).await?;
        row.map(|(added,)| UnixSeconds(added)).ok_or(Error::Corrupt("a described model"))
    }

    pub(in crate::store) async fn known_models(
        &self,
        filter: &CatalogueFilter,
    ) -> Result<Vec<KnownModel>, Error> {
        let query = sqlx::query_as::<_, CatalogueColumns>(PAGE)
            .bind(filter.is.as_ref().map(ModelName::as_str))
            .bind(filter.name.as_deref().map(exact).transpose()?)
            .bind(filter.engine.map(EngineKind::as_str))
            .bind(filter.after.as_ref().map(ModelName::as_str))
            .bind(i64::from(filter.limit.min(CATALOGUE_PAGE_ROWS_MAX)));
        self.all(query).await?.into_iter().map(KnownModel::try_from).collect()
    }

    pub(in crate::store) async fn remove_known_model(&self, name: &ModelName) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(REMOVE).bind(name.as_str())).await? > 0)
    }
}
