//! Kafka with faults, and with several consumers.

mod faults;

use std::time::Duration;

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use test_services::Kafka as Server;

use super::*;
use crate::bus::{
    Bus, Partition,
    conformance::{Reader, entries, settings},
};

async fn shared() -> &'static str {
    spawn_blocking(|| Server::shared().bootstrap()).await.unwrap()
}

fn kafka(bus: &Bus) -> &Kafka {
    match bus {
        Bus::Kafka(kafka) => kafka,
        Bus::Embedded(_) => panic!("not a Kafka"),
    }
}

#[tokio::test]
async fn a_consumer_starts_at_the_positions_it_is_told() {
    let bus = Bus::kafka(&settings(shared().await, &[])).unwrap();
    bus.publish(&entries(0..200)).await.unwrap();
    let mut first = Reader::new(&bus, "positions");
    first.until(|reader| reader.records.len() == 200).await;
    // What Kafka remembers says that everything is read; the store says otherwise, and it is right.
    let (mut stored, records) = (first.stored.clone(), first.records.clone());
    first.consumer.close().await;
    stored.values_mut().for_each(|next| *next -= 3);
    let expected: Vec<_> = records
        .into_iter()
        .filter(|record| {
            record.offset >= stored[&Partition { topic: record.topic, partition: record.partition }]
        })
        .collect();
    let mut second = Reader::new(&bus, "positions");
    second.stored = stored;
    second.until(|reader| reader.records.len() >= expected.len()).await;
    second.turn(1000, Duration::from_millis(300)).await;
    assert_eq!(second.records.len(), expected.len());
    assert!(expected.iter().all(|record| second.records.contains(record)));
    second.consumer.close().await;
    bus.close().await;
}

#[tokio::test]
async fn a_position_outside_of_the_log_loses_nothing() {
    let bus = Bus::kafka(&settings(shared().await, &[])).unwrap();
    bus.publish(&entries(0..100)).await.unwrap();
    let mut reader = Reader::new(&bus, "outside");
    for topic in Topic::ALL {
        // As after the topic was made anew: the store is far ahead.
        reader.stored.extend((0..4).map(|partition| (Partition { topic, partition }, 1_000_000)));
    }
    reader.until(|reader| reader.records.len() == 100).await;
    assert_eq!(reader.numbers(), (0..100).collect::<Vec<_>>());
    reader.consumer.close().await;
    bus.close().await;
}

#[tokio::test]
async fn two_consumers_share_the_partitions_and_take_over_at_once() {
    let bus = Bus::kafka(&settings(shared().await, &[])).unwrap();
    bus.publish(&entries(0..100)).await.unwrap();
    let mut first = Reader::new(&bus, "shared");
    first.until(|reader| reader.records.len() == 100).await;
    assert_eq!(first.owned.len(), 8);
    let mut second = Reader::new(&bus, "shared");
    // Both have one store.
    second.stored = first.stored.clone();
    while first.owned.len() != 4 || second.owned.len() != 4 {
        first.turn(100, Duration::from_millis(50)).await;
        second.turn(100, Duration::from_millis(50)).await;
    }
    assert!(first.owned.iter().all(|one| !second.owned.contains(one)));
    bus.publish(&entries(100..200)).await.unwrap();
    while first.records.len() + second.records.len() < 200 {
        first.turn(100, Duration::from_millis(50)).await;
        second.turn(100, Duration::from_millis(50)).await;
    }
    let mut numbers = [first.numbers(), second.numbers()].concat();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "each once");
    // Positions of partitions that another reads are nobody's harm.
    first.consumer.commit(&second.positions()).await.unwrap();

    second.stored.extend(first.stored.clone().into_iter().filter(|(one, _)| first.owned.contains(one)));
    let begun = std::time::Instant::now();
    first.consumer.close().await;
    second.until(|reader| reader.owned.len() == 8).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the session's time-out");
    second.consumer.close().await;
    bus.close().await;
}

#[tokio::test]
async fn a_consumer_that_stores_for_long_keeps_its_place_and_its_records() {
    let bus = Bus::kafka(&settings(shared().await, &[])).unwrap();
    let mut reader = Reader::new(&bus, "slow");
    reader.until(|reader| !reader.owned.is_empty()).await;
    for start in (0..40_000).step_by(5000) {
        bus.publish(&entries(start..start + 5000)).await.unwrap();
    }
    // The feed is full, the partitions are paused, and what is left comes when the store has time again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    reader.until(|reader| reader.records.len() == 40_000).await;
    assert_eq!(reader.numbers(), (0..40_000).collect::<Vec<_>>());
    reader.consumer.close().await;
    bus.close().await;
}

/// Brokers of librdkafka itself, which fail as they are told.
fn mock(prefix: &KafkaSettings) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    for topic in Topic::ALL {
        cluster.create_topic(&format!("{}{topic}", prefix.topic_prefix), 4, 1).unwrap();
    }
    cluster
}

#[tokio::test]
async fn a_broker_that_fails_for_a_while_loses_nothing() {
    let mut settings = settings("", &[("retry.backoff.ms", "10"), ("message.timeout.ms", "5000")]);
    let cluster = mock(&settings);
    settings.servers = cluster.bootstrap_servers();
    let bus = Bus::kafka(&settings).unwrap();
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    bus.publish(&entries(0..50)).await.unwrap();
    let mut reader = Reader::new(&bus, "mock");
    reader.until(|reader| reader.records.len() >= 50).await;
    assert_eq!(reader.numbers(), (0..50).collect::<Vec<_>>());
    reader.consumer.close().await;
    bus.close().await;
}

#[tokio::test]
async fn a_refusal_for_good_is_told_and_the_next_publication_passes() {
    let mut settings = settings("", &[("message.timeout.ms", "5000")]);
    let cluster = mock(&settings);
    settings.servers = cluster.bootstrap_servers();
    let bus = Bus::kafka(&settings).unwrap();
    let refusal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 8];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusal);
    let refused = bus.publish(&entries(0..50)).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert!(!bus.is_ready());
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    while bus.publish(&entries(0..50)).await.is_err() {}
    assert!(bus.is_ready());
    bus.close().await;
}

#[tokio::test]
async fn a_producer_that_cannot_go_on_is_replaced() {
    let mut settings = settings("", &[]);
    let cluster = mock(&settings);
    settings.servers = cluster.bootstrap_servers();
    let bus = Bus::kafka(&settings).unwrap();
    bus.publish(&entries(0..10)).await.unwrap();
    let broken = kafka(&bus).0.producer.lock().unwrap().clone().unwrap();
    broken.break_it();
    assert!(bus.publish(&entries(10..20)).await.is_err());
    bus.publish(&entries(10..20)).await.unwrap();
    bus.close().await;
    assert_eq!(bus.publish(&entries(0..1)).await, Err(Error::Closed));
}

#[tokio::test]
async fn a_setting_that_does_not_exist_is_told_at_once() {
    let bad = settings("127.0.0.1:1", &[("no.such.setting", "1")]);
    let Err(Error::Settings(told)) = Bus::kafka(&bad) else { panic!("it is taken") };
    assert!(told.contains("no.such.setting"), "{told}");
}
