//! Control streams: bidirectional QUIC streams whose writes pass the connection's token bucket, and whose
//! reads count as having heard the peer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use quinn::{ReadError, WriteError};
use tokio::io::{AsyncRead, ReadBuf};

use super::{bucket::CHUNK, close::Closed, connection::Connection};

/// Why a control stream cannot be written any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("the connection is closed: {0}")]
    Connection(#[source] Closed),
    /// The peer does not want this stream any more; the connection lives.
    #[error("the peer stopped the stream (code {0})")]
    Stopped(u64),
    #[error("the stream is finished")]
    Finished,
}

impl From<WriteError> for StreamError {
    fn from(e: WriteError) -> Self {
        match e {
            WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            WriteError::ConnectionLost(e) => Self::Connection(e.into()),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Finished,
        }
    }
}

/// The writing half.
#[derive(Debug)]
pub struct ControlSender {
    stream: quinn::SendStream,
    connection: Connection,
}

impl ControlSender {
    pub(super) fn new(stream: quinn::SendStream, connection: Connection) -> Self {
        Self { stream, connection }
    }

    /// Writes all of `bytes`, at the rate that the connection's bucket allows.
    ///
    /// Not cancel-safe: a part may have been written. One task owns each sender.
    pub async fn write_bounded(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        for chunk in bytes.chunks(CHUNK) {
            self.connection.pass_bucket(chunk.len()).await;
            self.stream.write_all(chunk).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes. What was written is still delivered.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.stream.finish().map_err(|_| StreamError::Finished)
    }
}

/// The reading half; [`crate::proto::read`] takes messages from it.
#[derive(Debug)]
pub struct ControlReceiver {
    stream: quinn::RecvStream,
    connection: Connection,
}

impl ControlReceiver {
    pub(super) fn new(stream: quinn::RecvStream, connection: Connection) -> Self {
        Self { stream, connection }
    }
}

impl AsyncRead for ControlReceiver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(self.stream.poll_read_buf(cx, buf)).map_err(read_error);
        if buf.filled().len() > before {
            self.connection.heard();
        }
        Poll::Ready(read)
    }
}

fn read_error(e: ReadError) -> io::Error {
    match e {
        ReadError::ConnectionLost(e) => {
            let kind = io::ErrorKind::ConnectionAborted;
            io::Error::new(kind, StreamError::Connection(e.into()))
        }
        e => io::Error::new(io::ErrorKind::ConnectionReset, e),
    }
}
