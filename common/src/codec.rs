//! Frames of the control session: a length of four bytes, big-endian, then one bincode value.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::message::Bounded;

/// The largest frame body, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
const LENGTH_BYTES: usize = 4;

/// Why a stream of bytes is not a stream of frames. Every one of these ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The announced length is above [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// The body is not a value of the expected type.
    #[error("a frame does not decode")]
    Malformed,
    /// The body is longer than its value.
    #[error("a frame has bytes after its value")]
    TrailingBytes,
    /// A count or text inside is over its bound.
    #[error("a field of a frame is over its bound")]
    OutOfBounds,
}

const fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_BYTES_MAX>()
}

/// The frame that carries `message`.
///
/// # Errors
/// [`Error::TooLong`] when it does not fit into a frame.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, Error> {
    let mut frame = vec![0; LENGTH_BYTES];
    bincode::serde::encode_into_std_write(message, &mut frame, config()).map_err(|_| Error::Malformed)?;
    let body_bytes = frame.len() - LENGTH_BYTES;
    let length = u32::try_from(body_bytes).map_err(|_| Error::TooLong(body_bytes))?;
    if body_bytes > FRAME_BYTES_MAX {
        return Err(Error::TooLong(body_bytes));
    }
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Turns bytes, however they are split, into messages of type `M`.
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    consumed: usize,
    message: PhantomData<fn() -> M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Self { buffer: Vec::new(), consumed: 0, message: PhantomData }
    }
}

impl<M: DeserializeOwned + Bounded> Decoder<M> {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until further bytes come.
    ///
    /// # Errors
    /// When the bytes are no frame; the stream cannot be used further.
    pub fn next_message(&mut self) -> Result<Option<M>, Error> {
        let pending = &self.buffer[self.consumed..];
        let Some((length, rest)) = pending.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let body_bytes = u32::from_be_bytes(*length) as usize;
        if body_bytes > FRAME_BYTES_MAX {
            return Err(Error::TooLong(body_bytes));
        }
        let Some(body) = rest.get(..body_bytes) else { return Ok(None) };
        let message = decode(body)?;
        self.consumed += LENGTH_BYTES + body_bytes;
        self.forget_when_drained();
        Ok(Some(message))
    }

    /// Bytes that were pushed and belong to no message yet.
    #[must_use]
    pub fn remainder(&self) -> &[u8] {
        &self.buffer[self.consumed..]
    }

    /// An idle session holds no buffer: with thousands of agents it would be most of their memory.
    fn forget_when_drained(&mut self) {
        if self.consumed == self.buffer.len() {
            self.buffer = Vec::new();
            self.consumed = 0;
        }
    }
}

fn decode<M: DeserializeOwned + Bounded>(body: &[u8]) -> Result<M, Error> {
    let (message, used) =
        bincode::serde::decode_from_slice::<M, _>(body, config()).map_err(|_| Error::Malformed)?;
    if used != body.len() {
        return Err(Error::TrailingBytes);
    }
    if !message.is_bounded() {
        return Err(Error::OutOfBounds);
    }
    Ok(message)
}

#[cfg(test)]
mod tests;
