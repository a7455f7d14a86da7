//! Models that the operator has described.

use common::{EngineKind, ModelName};

use super::{Sqlite, in_time};
use crate::store::{
    CATALOGUE_PAGE_ROWS_MAX, CatalogueFilter, Error, KnownModel, UnixSeconds,
    columns::{CatalogueColumns, exact, json, readable},
};

impl Sqlite {
    pub(in crate::store) async fn put_known_model(&self, model: &KnownModel) -> Result<UnixSeconds, Error> {
        let put = sqlx::query_as::<_, (i64,)>(
            "INSERT INTO catalogue (name, engines, size_bytes, checksum_sha256, gpu_memory_bytes, \
             description, added_unix, changed_unix) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET engines = excluded.engines, size_bytes = excluded.size_bytes, \
             checksum_sha256 = excluded.checksum_sha256, gpu_memory_bytes = excluded.gpu_memory_bytes, \
             description = excluded.description, changed_unix = excluded.changed_unix RETURNING added_unix",
        )
        .bind(model.name.as_str())
        .bind(json(&model.engines)?)
        .bind(model.size_bytes.map(u64::cast_signed))
        .bind(model.checksum_sha256.map(|sum| sum.to_vec()))
        .bind(model.gpu_memory_bytes.map(u64::cast_signed))
        .bind(model.description.as_deref().map(readable))
        .bind(model.added.0)
        .bind(model.changed.0);
        in_time(put.fetch_one(&self.desk)).await.map(|(added,)| UnixSeconds(added))
    }

    pub(in crate::store) async fn known_models(
        &self,
        filter: &CatalogueFilter,
    ) -> Result<Vec<KnownModel>, Error> {
        let query = sqlx::query_as::<_, CatalogueColumns>(
            "SELECT * FROM catalogue WHERE (?1 IS NULL OR name = ?1) \
             AND (?2 IS NULL OR instr(lower(name), lower(?2)) > 0) \
             AND (?3 IS NULL OR engines = '[]' OR ?3 IN (SELECT value FROM json_each(engines))) \
             AND (?4 IS NULL OR name > ?4) ORDER BY name LIMIT ?5",
        )
        .bind(filter.is.as_ref().map(ModelName::as_str))
        .bind(filter.name.as_deref().map(exact).transpose()?)
        .bind(filter.engine.map(EngineKind::as_str))
        .bind(filter.after.as_ref().map(ModelName::as_str))
        .bind(filter.limit.min(CATALOGUE_PAGE_ROWS_MAX));
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(KnownModel::try_from).collect()
    }

    pub(in crate::store) async fn remove_known_model(&self, name: &ModelName) -> Result<bool, Error> {
        let delete = sqlx::query("DELETE FROM catalogue WHERE name = ?").bind(name.as_str());
        Ok(in_time(delete.execute(&self.desk)).await?.rows_affected() > 0)
    }
}
