//! Answers of engines: the same however they come, and never a whole one out of half.

use super::*;

/// Head and body of an answer whose bytes come in pieces of `size`, then an end of the connection.
fn read(wire: &[u8], size: usize) -> Result<(u16, Vec<u8>), Error> {
    let mut buffer = BytesMut::new();
    let mut pieces = wire.chunks(size.max(1));
    let mut answered = loop {
        if let Some(answered) = head::decode(&mut buffer)? {
            break answered;
        }
        buffer.extend_from_slice(pieces.next().ok_or(Error::Closed)?);
    };
    let mut body = Vec::new();
    loop {
        while let Some(bytes) = answered.reader.take(&mut buffer)? {
            body.extend_from_slice(&bytes);
        }
        if answered.reader.is_ended() {
            return Ok((answered.parts.status.as_u16(), body));
        }
        match pieces.next() {
            Some(piece) => buffer.extend_from_slice(piece),
            None => answered.reader.close()?,
        }
    }
}

const WHOLE: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
];

#[test]
fn every_framing_is_read_the_same_however_it_is_split() {
    for wire in WHOLE {
        for size in 1..=wire.len() {
            let (status, body) = read(wire, size).unwrap();
            assert_eq!((status, body.as_slice()), (200, b"hello".as_slice()), "{}", wire.escape_ascii());
        }
    }
}

#[test]
fn half_an_answer_is_never_a_whole_one() {
    for wire in &WHOLE[..3] {
        for cut in 0..wire.len() {
            assert!(read(&wire[..cut], 7).is_err(), "{}", wire[..cut].escape_ascii());
        }
    }
}

#[test]
fn answers_that_could_be_read_in_two_ways_are_refused() {
    for wire in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"<html>",
    ] {
        assert!(matches!(read(wire, wire.len()), Err(Error::BadAnswer)), "{}", wire.escape_ascii());
    }
}

#[test]
fn an_endless_head_or_size_is_refused() {
    let head = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; 100_000]].concat();
    assert!(matches!(read(&head, 4096), Err(Error::BadAnswer)));
    let size =
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(), &[b'1'; 100_000]].concat();
    assert!(matches!(read(&size, 4096), Err(Error::BadAnswer)));
}

#[test]
fn any_bytes_are_read_the_same_in_any_pieces() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
        let wire = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(), bytes].concat();
        for wire in [bytes, &wire] {
            match (read(wire, wire.len()), read(wire, usize::from(*size) + 1)) {
                (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
                (whole, pieces) => assert_eq!(whole.is_err(), pieces.is_err()),
            }
        }
    });
}
