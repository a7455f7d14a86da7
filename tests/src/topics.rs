//! Puts records onto topics as somebody else's program would.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// Appends `payloads` to a topic that exists, in order, and waits until the broker has them.
pub async fn produce(bootstrap: &str, topic: &str, payloads: &[String]) {
    let (bootstrap, topic, payloads) = (bootstrap.to_owned(), topic.to_owned(), payloads.to_vec());
    tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
        let producer: BaseProducer = config.create().expect("a producer");
        for payload in &payloads {
            let record = BaseRecord::<(), _>::to(&topic).payload(payload.as_str());
            producer.send(record).map_err(|(error, _)| error).expect("a queue with room");
        }
        producer.flush(FLUSH_TIMEOUT).expect("a broker that takes them");
        assert_eq!(producer.in_flight_count(), 0);
    })
    .await
    .expect("a producer that works");
}
