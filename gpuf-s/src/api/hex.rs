//! 32 bytes as 64 hexadecimal digits.

pub(super) fn write(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn read(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_and_written() {
        assert_eq!(read(&"0F".repeat(32)), Some([15; 32]));
        assert_eq!(write(&[15; 32]), "0f".repeat(32));
        for bad in ["", "0f", &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
