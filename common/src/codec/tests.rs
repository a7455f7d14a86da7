//! Frames: whole however they are split, bounded whatever they claim.

use super::*;
use crate::message::{AgentMessage, ServerMessage};

fn ping(nonce: u64) -> ServerMessage {
    ServerMessage::Ping { nonce }
}

#[test]
fn a_frame_arrives_whole_however_it_is_split() {
    let messages = [ping(1), ServerMessage::Superseded, ping(u64::MAX)];
    let wire: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
    for cut in 0..=wire.len() {
        let mut decoder = Decoder::<ServerMessage>::default();
        let mut seen = Vec::new();
        for part in [&wire[..cut], &wire[cut..]] {
            decoder.push(part);
            while let Some(message) = decoder.next_message().unwrap() {
                seen.push(message);
            }
        }
        assert_eq!(seen, messages, "cut at {cut}");
    }
}

#[test]
fn an_announced_length_over_the_limit_is_refused_before_it_is_read() {
    let mut decoder = Decoder::<ServerMessage>::default();
    decoder.push(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes());
    assert_eq!(decoder.next_message(), Err(Error::TooLong(FRAME_BYTES_MAX + 1)));
}

#[test]
fn bytes_after_the_value_are_refused() {
    let mut frame = encode(&ping(7)).unwrap();
    frame.push(0);
    frame[3] += 1;
    let mut decoder = Decoder::<ServerMessage>::default();
    decoder.push(&frame);
    assert_eq!(decoder.next_message(), Err(Error::TrailingBytes));
}

#[test]
fn a_count_that_promises_gigabytes_is_refused() {
    // `Engines` with a vector of 2^32 entries in a frame of a dozen bytes.
    let body = [1, 253, 0, 0, 0, 0, 1, 0, 0, 0];
    let mut decoder = Decoder::<AgentMessage>::default();
    decoder.push(&(body.len() as u32).to_be_bytes());
    decoder.push(&body);
    assert_eq!(decoder.next_message(), Err(Error::Malformed));
}

#[test]
fn text_over_its_bound_is_refused() {
    let reason = "x".repeat(1000);
    let message =
        AgentMessage::ProxyConnFailed { proxy_conn_id: crate::ProxyConnId::from_bytes([0; 16]), reason };
    let mut decoder = Decoder::<AgentMessage>::default();
    decoder.push(&encode(&message).unwrap());
    assert_eq!(decoder.next_message(), Err(Error::OutOfBounds));
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut decoder = Decoder::<AgentMessage>::default();
        decoder.push(bytes);
        while let Ok(Some(_)) = decoder.next_message() {}
        let mut body = Decoder::<ServerMessage>::default();
        body.push(&(bytes.len() as u32).to_be_bytes());
        body.push(bytes);
        let _ = body.next_message();
    });
}

#[test]
fn a_variant_that_is_not_known_ends_the_stream() {
    let unknown = 9;
    let mut decoder = Decoder::<ServerMessage>::default();
    decoder.push(&[0, 0, 0, 2, unknown, 0]);
    assert_eq!(decoder.next_message(), Err(Error::Malformed));
}
