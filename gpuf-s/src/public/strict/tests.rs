//! What passes and what is refused, however it is split.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 32 * 1024, target_bytes_max: 8 * 1024 };

/// What passes, byte for byte, when `wire` comes in pieces of `size`; or the refusal.
fn passed(wire: &[u8], size: usize) -> Result<Vec<u8>, Refusal> {
    let mut reader = Reader::new(LIMITS);
    let mut out = Vec::new();
    for piece in wire.chunks(size.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            match reader.read(rest)? {
                Step::Pass(bytes) => {
                    out.extend_from_slice(bytes);
                    rest = &rest[bytes.len()..];
                }
                Step::Head { head, consumed } => {
                    out.extend_from_slice(&head);
                    rest = &rest[consumed..];
                }
                Step::More => break,
            }
        }
    }
    Ok(out)
}

fn refused(wire: &[u8]) -> Option<Refusal> {
    let whole = passed(wire, wire.len()).err();
    assert_eq!(passed(wire, 1).err(), whole, "{}", wire.escape_ascii());
    whole
}

#[test]
fn honest_requests_pass_byte_for_byte_however_they_are_split() {
    let wire = b"POST /v1/x HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 3\r\n\r\nabc\
        POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0a\r\n0123456789\r\n0\r\nT: v\r\n\r\n\
        GET / HTTP/1.0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost:[::1]\r\n\r\n";
    for size in 1..=wire.len() {
        assert_eq!(passed(wire, size).unwrap(), wire, "pieces of {size}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let heads: &[&[u8]] = &[
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty\r\nHost: a\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for head in heads {
        assert_eq!(refused(head), Some(Refusal::Malformed), "{}", head.escape_ascii());
    }
}

#[test]
fn odd_chunks_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in
        ["5\nhello\r\n", "5;x=y\r\nhello\r\n", "\r\n", "g\r\n", "5\r\nhellooo", "-1\r\n", "0x5\r\n", " 5\r\n"]
    {
        assert_eq!(refused(format!("{head}{body}").as_bytes()), Some(Refusal::Malformed), "{body:?}");
    }
    let long = format!("{head}{}\r\n", "1".repeat(17));
    assert_eq!(refused(long.as_bytes()), Some(Refusal::Malformed));
}

#[test]
fn too_much_is_refused_with_its_own_verdict() {
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes();
    assert_eq!(passed(&get(&"X: 1\r\n".repeat(99)), 4096).err(), None);
    assert_eq!(passed(&get(&"X: 1\r\n".repeat(100)), 4096).err(), Some(Refusal::HeadTooLarge));
    assert_eq!(
        passed(&get(&format!("X: {}\r\n", "y".repeat(17_000))), 4096).err(),
        Some(Refusal::HeadTooLarge)
    );
    let endless = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    assert_eq!(passed(&endless, 4096).err(), Some(Refusal::HeadTooLarge));
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    assert_eq!(passed(target.as_bytes(), 100_000).err(), Some(Refusal::TargetTooLong));
    assert_eq!(passed(target.as_bytes(), 1000).err(), Some(Refusal::TargetTooLong));
}

#[test]
fn any_bytes_in_any_pieces_get_the_same_verdict() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
        let whole = passed(bytes, bytes.len());
        let pieces = passed(bytes, usize::from(*size) + 1);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
            (whole, pieces) => assert_eq!(whole.is_err(), pieces.is_err()),
        }
    });
}
