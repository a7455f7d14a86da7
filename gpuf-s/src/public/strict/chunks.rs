//! A chunked body: sizes in plain hexadecimal, no extensions, no trailers of note.

use super::Refusal;

/// Hexadecimal digits of a chunk's size: 2^60 bytes are enough for anybody.
const SIZE_DIGITS_MAX: u8 = 15;
/// Trailers are read and forgotten up to this size.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Where in a chunked body the reader is.
#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    size: u64,
    digits: u8,
    trailer_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

impl Chunks {
    /// How many bytes belong to the body, and whether it ends with them.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut count = 0;
        while count < input.len() {
            if self.at == At::Data {
                let step = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - count);
                self.size -= step as u64;
                count += step;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            count += 1;
            if self.step(input[count - 1])? {
                return Ok((count, true));
            }
        }
        Ok((count, false))
    }

    /// One byte outside the data; `true` at the end of the body.
    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        self.at = match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Size, digit) => self.take_digit(digit)?,
            (At::SizeLf, b'\n') => self.after_size(),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerStart | At::Trailer, byte) if byte != b'\n' && byte != 0 => self.take_trailer()?,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => return Ok(true),
            _ => return Err(Refusal::Malformed),
        };
        Ok(false)
    }

    fn take_digit(&mut self, digit: u8) -> Result<At, Refusal> {
        let value = char::from(digit).to_digit(16).ok_or(Refusal::Malformed)?;
        self.digits += 1;
        if self.digits > SIZE_DIGITS_MAX {
            return Err(Refusal::Malformed);
        }
        self.size = self.size << 4 | u64::from(value);
        Ok(At::Size)
    }

    const fn after_size(&mut self) -> At {
        self.digits = 0;
        if self.size == 0 { At::TrailerStart } else { At::Data }
    }

    const fn take_trailer(&mut self) -> Result<At, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX { Err(Refusal::HeadTooLarge) } else { Ok(At::Trailer) }
    }
}
