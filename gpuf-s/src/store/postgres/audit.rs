//! The audit trail.

use super::{Lease, Postgres, statements::statements};
use crate::store::{AUDIT_LINES_MAX, AuditLine, Error, UnixSeconds, columns::readable};

statements! {
    INSERT = "INSERT INTO audit (at_unix, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5) \
              RETURNING id";
    PRUNE = "DELETE FROM audit WHERE id <= $1";
    NEWEST = "SELECT at_unix, actor, action, subject, detail FROM audit ORDER BY id DESC LIMIT $1";
}

impl Postgres {
    pub(in crate::store) async fn audit(&self, line: &AuditLine) -> Result<(), Error> {
        let insert = sqlx::query_as::<_, (i64,)>(INSERT)
            .bind(line.at.0)
            .bind(readable(&line.actor))
            .bind(readable(&line.action))
            .bind(readable(&line.subject))
            .bind(line.detail.as_deref().map(readable));
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            let (id,) = insert.fetch_one(&mut *desk).await?;
            sqlx::query(PRUNE).bind(id - AUDIT_LINES_MAX).execute(&mut *desk).await?;
            desk.done(());
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn audit_lines(&self, limit: u32) -> Result<Vec<AuditLine>, Error> {
        type Row = (i64, String, String, String, Option<String>);
        let query = sqlx::query_as::<_, Row>(NEWEST).bind(i64::from(limit));
        let rows = self.all(query).await?;
        let line = |(at, actor, action, subject, detail)| AuditLine {
            at: UnixSeconds(at),
            actor,
            action,
            subject,
            detail,
        };
        Ok(rows.into_iter().map(line).collect())
    }
}
