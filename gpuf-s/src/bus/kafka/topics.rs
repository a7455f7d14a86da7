//! Makes the topics that are missing.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext as _,
    types::RDKafkaErrorCode,
};
use tokio::runtime::Handle;

use super::{
    Topics, client_config,
    log::{Context, Quiet},
    unavailable,
};
use crate::bus::{Error, KafkaSettings};

const DEADLINE: Duration = Duration::from_secs(5);
/// The broker's own default.
const REPLICATION: i32 = -1;

/// Returns when every topic is there. Blocks for at most [`DEADLINE`] or two.
pub(super) fn make(
    settings: &KafkaSettings,
    topics: &Topics,
    quiet: Arc<Quiet>,
    runtime: &Handle,
) -> Result<(), Error> {
    let admin = AdminClient::from_config_and_context(&client_config(settings, &[], &[]), Context(quiet))
        .map_err(|error| Error::Settings(error.to_string()))?;
    let wanted = topics
        .names
        .each_ref()
        .map(|name| NewTopic::new(name, topics.partitions.into(), TopicReplication::Fixed(REPLICATION)));
    let options = AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE));
    let made = runtime.block_on(admin.create_topics(&wanted, &options)).map_err(|error| unavailable(&error));
    let results = match made {
        Ok(results) => results,
        // A broker that is away; or one that cannot make topics, which may be there all the same.
        Err(refused) => return look(&admin, topics).map_err(|_| refused),
    };
    for result in results {
        match result {
            Ok(name) => tracing::info!(topic = name, partitions = topics.partitions, "made a topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            // Whoever may not make topics may use those that somebody else made.
            Err((name, code)) => look(&admin, topics)
                .map_err(|_| Error::Refused(format!("the topic {name} cannot be made: {code}")))?,
        }
    }
    Ok(())
}

/// Whether every topic is there.
fn look(admin: &AdminClient<Context>, topics: &Topics) -> Result<(), Error> {
    for name in &topics.names {
        let seen = admin.inner().fetch_metadata(Some(name), DEADLINE).map_err(|error| unavailable(&error))?;
        let is_there = |topic: &rdkafka::metadata::MetadataTopic| {
            topic.name() == name && topic.error().is_none() && !topic.partitions().is_empty()
        };
        if !seen.topics().iter().any(is_there) {
            return Err(Error::Refused(format!("there is no topic {name}")));
        }
    }
    Ok(())
}
