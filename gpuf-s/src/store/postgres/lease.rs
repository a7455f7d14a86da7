//! A connection that is lent for a few statements.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::time::timeout;

/// A connection that is given back answers within this, or is closed.
const RETURN_DEADLINE: Duration = Duration::from_secs(1);

/// A connection of a pool. Dropped before [`Self::done`] it is closed: whoever gave up waiting left a statement
/// running on it, and the pool would wait for its answer, on a dead network for a quarter of an hour.
pub(super) struct Lease(PoolConnection<Postgres>);

impl Lease {
    pub(super) async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        connection.close_on_drop();
        Ok(Self(connection))
    }

    /// Gives the connection back and passes on what it was leased for.
    pub(super) fn done<T>(mut self, value: T) -> T {
        // Ends within its deadline, and a pool that closes waits for it.
        tokio::spawn(timeout(RETURN_DEADLINE, self.0.return_to_pool()));
        value
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
