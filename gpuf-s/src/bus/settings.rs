//! How a Kafka is reached, and what its topics are called.

use std::fmt;

/// Settings of the client that are ours to make: another value would lose or double records.
const FIXED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "metadata.broker.list",
    "request.required.acks",
];

/// A client setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    /// Not `NAME=VALUE`.
    #[error("{0:?} is not NAME=VALUE")]
    Shape(String),
    /// One of ours.
    #[error("{0} cannot be changed: records would be lost or counted twice")]
    Fixed(String),
}

/// How to reach a Kafka. Its `Debug` leaves out the values of options, which may be passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub servers: String,
    /// Further settings of the client, as librdkafka names them.
    pub options: Vec<(String, String)>,
    /// What the names of the topics begin with.
    pub topic_prefix: String,
    /// Partitions of a topic that does not exist yet.
    pub partitions: u16,
}

impl KafkaSettings {
    /// Takes apart one `NAME=VALUE`.
    ///
    /// # Errors
    /// As [`BadOption`] says; the value is not told.
    pub fn option(text: &str) -> Result<(String, String), BadOption> {
        let shape = || BadOption::Shape(text.split('=').next().unwrap_or_default().to_owned());
        let (name, value) = text.split_once('=').ok_or_else(shape)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(shape());
        }
        if FIXED.contains(&name) {
            return Err(BadOption::Fixed(name.to_owned()));
        }
        Ok((name.to_owned(), value.to_owned()))
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.options.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaSettings")
            .field("servers", &self.servers)
            .field("options", &names)
            .field("topic_prefix", &self.topic_prefix)
            .field("partitions", &self.partitions)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_name_and_a_value() {
        let option = KafkaSettings::option("sasl.password=a=b");
        assert_eq!(option, Ok(("sasl.password".to_owned(), "a=b".to_owned())));
        for text in ["", "x", "=x", "x="] {
            assert!(matches!(KafkaSettings::option(text), Err(BadOption::Shape(_))), "{text}");
        }
        assert_eq!(KafkaSettings::option("acks=1"), Err(BadOption::Fixed("acks".to_owned())));
    }

    #[test]
    fn values_of_options_are_not_printed() {
        let settings = KafkaSettings {
            servers: "k:9092".into(),
            options: vec![("sasl.password".into(), "hunter2".into())],
            topic_prefix: String::new(),
            partitions: 8,
        };
        let printed = format!("{settings:?}");
        assert!(printed.contains("sasl.password") && !printed.contains("hunter2"), "{printed}");
    }
}
