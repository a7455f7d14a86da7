//! How the database is reached.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    secret::SecretUrl,
    store::{ACQUIRE_DEADLINE, STATEMENT_DEADLINE},
};

/// What the database shows the connection as.
const APPLICATION_NAME: &str = "gpuf-s";
/// The database ends a transaction that waits for us this long.
const IDLE_IN_TRANSACTION_MS: u128 = 5000;
/// An unused connection is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that was idle for this long is asked whether it lives before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// Parameters of a URL that the driver knows; what it does not know it would write to the log with its value.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// What a URL says, and what holds for each of our connections.
pub(super) fn options(url: &SecretUrl) -> Result<PgConnectOptions, String> {
    let known = known_parameters(url.expose());
    let options = PgConnectOptions::from_str(&known).map_err(|error| explain_url(&error))?;
    let named = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(APPLICATION_NAME),
    };
    Ok(named.options([
        // The client's own deadline leaves the statement running: the server ends it by itself.
        ("statement_timeout", STATEMENT_DEADLINE.as_millis()),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
        // By these the server learns that we are gone, and lets go of what we locked.
        ("tcp_keepalives_idle", 15),
        ("tcp_keepalives_interval", 5),
        ("tcp_keepalives_count", 3),
        ("tcp_user_timeout", 20_000),
    ]))
}

/// A pool that connects when it is first asked.
pub(super) fn pool(options: &PgConnectOptions, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_DEADLINE)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        // What answered a moment ago is worth no round trip.
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                if metadata.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone())
}

fn known_parameters(url: &str) -> String {
    let Some((place, parameters)) = url.split_once('?') else { return url.to_owned() };
    let known = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        let known = PARAMETERS.contains(&name) || name.starts_with("options[");
        if !known {
            tracing::warn!(parameter = name, "a parameter of the database URL is not known, and left out");
        }
        known
    };
    let kept: Vec<_> = parameters.split('&').filter(known).collect();
    format!("{place}?{}", kept.join("&"))
}

/// An error of the URL's parser may quote what it could not read, and that may be a password.
fn explain_url(_error: &sqlx::Error) -> String {
    "the URL does not read: it should be postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters \
     of the password percent-encoded"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_the_driver_would_print_are_left_out() {
        for (url, kept) in [
            ("postgres://h/d", "postgres://h/d"),
            ("postgres://h/d?sslmode=require&passwd=hunter2", "postgres://h/d?sslmode=require"),
            ("postgres://h/d?passwd=hunter2", "postgres://h/d?"),
            (
                "postgres:///d?host=/run&options[search_path]=x",
                "postgres:///d?host=/run&options[search_path]=x",
            ),
        ] {
            assert_eq!(known_parameters(url), kept);
        }
    }

    #[test]
    fn our_limits_come_after_those_of_the_url() {
        let url = "postgres://h/d?options=-c%20statement_timeout%3D0&application_name=x";
        let options = options(&SecretUrl::new(url.to_owned())).unwrap();
        assert_eq!(options.get_application_name(), Some("x"));
        let settings = options.get_options().unwrap();
        assert!(settings.find("statement_timeout=2000") > settings.find("statement_timeout=0"), "{settings}");
    }
}
