//! Framing of control messages on a stream: a length as four bytes, most significant first, then the
//! message. A frame's size is bounded before anything is allocated for it.

use std::io;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The largest control message, in bytes. A report of 50 windows of 512 samples is about 120 kB.
pub const MAX_FRAME: usize = 256 * 1024;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("control message of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLong(usize),
    #[error("control message is malformed")]
    Malformed(#[from] prost::DecodeError),
    #[error("control stream failed")]
    Io(#[from] io::Error),
}

/// Encodes `message` with its length in front.
pub fn encode(message: &impl Message) -> Result<Vec<u8>, FrameError> {
    let len = message.encoded_len();
    let prefix = u32::try_from(len)
        .ok()
        .filter(|_| len <= MAX_FRAME)
        .ok_or(FrameError::TooLong(len))?;
    let mut bytes = Vec::with_capacity(4 + len);
    bytes.extend_from_slice(&prefix.to_be_bytes());
    message.encode_raw(&mut bytes);
    Ok(bytes)
}

/// Decodes one whole message without a length in front.
pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, FrameError> {
    if bytes.len() > MAX_FRAME {
        return Err(FrameError::TooLong(bytes.len()));
    }
    Ok(M::decode(bytes)?)
}

/// Writes one message.
pub async fn write<M: Message>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), FrameError> {
    to.write_all(&encode(message)?).await?;
    Ok(())
}

/// Reads one message; `None` at a clean end of the stream.
///
/// Not cancel-safe: a task of its own reads each stream.
pub async fn read<M: Message + Default>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<M>, FrameError> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let len = u32::from_be_bytes(prefix) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body).await?;
    Ok(Some(M::decode(body.as_slice())?))
}
