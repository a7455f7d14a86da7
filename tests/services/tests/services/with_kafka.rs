//! Kafka.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use test_services::Kafka;

use super::process::{are_gone, stand_still};

const TOPIC: &str = "t";
const PATIENCE: Duration = Duration::from_secs(30);

fn config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    config
}

async fn create_topic(kafka: &Kafka) {
    let admin: AdminClient<_> = config(kafka).create().unwrap();
    let topic = NewTopic::new(TOPIC, 2, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

async fn send(kafka: &Kafka, payload: &str) {
    let producer: FutureProducer = config(kafka).set("acks", "all").create().unwrap();
    let record = FutureRecord::<(), _>::to(TOPIC).partition(0).payload(payload);
    producer.send(record, PATIENCE).await.unwrap();
}

/// Reads the first records of the first partition, as a group's member does.
async fn receive(kafka: &Kafka, count: usize) -> Vec<String> {
    let mut config = config(kafka);
    config.set("group.id", "g").set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create().unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let record = tokio::time::timeout(PATIENCE, consumer.recv()).await.expect("a record").unwrap();
        payloads.push(String::from_utf8(record.payload().unwrap().to_vec()).unwrap());
    }
    payloads
}

#[tokio::test]
async fn a_killed_kafka_has_what_it_acknowledged() {
    let kafka = Kafka::private_with(&["num.partitions=3"]);
    create_topic(&kafka).await;
    send(&kafka, "one").await;
    let processes = kafka.processes();
    kafka.kill();
    are_gone(&processes);
    kafka.restart();
    send(&kafka, "two").await;
    assert_eq!(receive(&kafka, 2).await, ["one", "two"]);
    kafka.restart();
    assert_eq!(receive(&kafka, 2).await, ["one", "two"]);
}

#[tokio::test]
async fn kafka_takes_a_record_once_it_goes_on() {
    let kafka = Kafka::private();
    create_topic(&kafka).await;
    kafka.stop();
    assert!(stand_still(&kafka.processes()));
    {
        let mut sent = std::pin::pin!(send(&kafka, "late"));
        let silence = Duration::from_millis(500);
        assert!(tokio::time::timeout(silence, &mut sent).await.is_err(), "nobody acknowledges");
        kafka.go_on();
        sent.await;
    }
    assert_eq!(receive(&kafka, 1).await, ["late"]);
}

#[test]
fn the_shared_kafka_is_one_and_makes_no_topics_on_its_own() {
    let kafka = Kafka::shared();
    assert!(std::ptr::eq(kafka, Kafka::shared()));
    let consumer: BaseConsumer = config(kafka).create().unwrap();
    let metadata = consumer.fetch_metadata(Some("unheard-of"), PATIENCE).unwrap();
    assert!(metadata.topics().iter().all(|topic| topic.error().is_some()), "it was made");
}
