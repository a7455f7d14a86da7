//! The body of an answer, out of the bytes that came. Pure.

use bytes::{Buf, Bytes, BytesMut};

use super::Error;

/// A chunk's size line with its extension.
const SIZE_LINE_BYTES_MAX: usize = 256;
/// Trailers are read and forgotten, up to this size.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Where in a body the reader is.
#[derive(Debug)]
pub struct Reader {
    at: At,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    Ended,
    Closed,
}

impl Reader {
    const fn at(at: At) -> Self {
        Self { at, trailer_bytes: 0 }
    }

    /// No body, or no more of it.
    pub const fn ended() -> Self {
        Self::at(At::Ended)
    }

    /// A body of so many bytes.
    pub const fn length(bytes: u64) -> Self {
        Self::at(if bytes == 0 { At::Ended } else { At::Length(bytes) })
    }

    /// A chunked body.
    pub const fn chunked() -> Self {
        Self::at(At::ChunkSize)
    }

    /// A body that ends with its connection.
    pub const fn until_close() -> Self {
        Self::at(At::UntilClose)
    }

    /// Whether the body has ended.
    pub const fn is_ended(&self) -> bool {
        matches!(self.at, At::Ended | At::Closed)
    }

    /// Whether the connection ends with the body.
    pub const fn ends_by_close(&self) -> bool {
        matches!(self.at, At::UntilClose | At::Closed)
    }

    /// The connection has ended.
    pub const fn close(&mut self) -> Result<(), Error> {
        match self.at {
            At::UntilClose => {
                self.at = At::Closed;
                Ok(())
            }
            At::Ended | At::Closed => Ok(()),
            _ => Err(Error::Closed),
        }
    }

    /// The next bytes of the body that `buffer` holds; `None` when it holds none, or the body has ended.
    ///
    /// What follows data is looked at once it is there, so that the end is known with the last data.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Error> {
        self.skip_framing(buffer)?;
        let most = match self.at {
            At::Length(left) | At::ChunkData(left) => left,
            At::UntilClose => u64::MAX,
            _ => return Ok(None),
        };
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        if count == 0 {
            return Ok(None);
        }
        let bytes = buffer.split_to(count).freeze();
        self.at = match self.at {
            At::Length(left) if left == count as u64 => At::Ended,
            At::Length(left) => At::Length(left - count as u64),
            At::ChunkData(left) if left == count as u64 => At::ChunkEnd,
            At::ChunkData(left) => At::ChunkData(left - count as u64),
            other => other,
        };
        self.skip_framing(buffer)?;
        Ok(Some(bytes))
    }

    fn skip_framing(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        while let At::ChunkSize | At::ChunkEnd | At::Trailer = self.at {
            let Some(line) = take_line(buffer, SIZE_LINE_BYTES_MAX.max(self.trailer_room()))? else { break };
            self.at = match self.at {
                At::ChunkEnd if line.is_empty() => At::ChunkSize,
                At::ChunkSize => match chunk_size(&line)? {
                    0 => At::Trailer,
                    bytes => At::ChunkData(bytes),
                },
                At::Trailer if line.is_empty() => At::Ended,
                At::Trailer => {
                    self.trailer_bytes += line.len();
                    if self.trailer_bytes > TRAILER_BYTES_MAX {
                        return Err(Error::BadAnswer);
                    } else {
                        At::Trailer
                    }
                }
                _ => return Err(Error::BadAnswer),
            };
        }
        Ok(())
    }

    const fn trailer_room(&self) -> usize {
        if matches!(self.at, At::Trailer) { TRAILER_BYTES_MAX } else { 0 }
    }
}

/// A line without its end, once it is all there.
fn take_line(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, Error> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > bytes_max { Err(Error::BadAnswer) } else { Ok(None) };
    };
    let mut line = buffer.split_to(end);
    buffer.advance(1);
    if line.last() != Some(&b'\r') {
        return Err(Error::BadAnswer);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    let text = std::str::from_utf8(digits).ok().filter(|text| (1..=15).contains(&text.len()));
    let hex =
        text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit())).ok_or(Error::BadAnswer)?;
    u64::from_str_radix(hex, 16).map_err(|_| Error::BadAnswer)
}
