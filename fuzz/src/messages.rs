//! Control messages, whole and framed on a stream.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use corridor::{
    identity::Revoked,
    media::grant::MAX_REVOKED,
    proto::{self, FrameError, MAX_FRAME},
};
use prost::Message;
use tokio::io::{AsyncRead, ReadBuf};

use super::{input::Input, memory::at_most};

/// What a message may take once it is decoded: its bytes, and the elements that they stand for.
const MAX_DECODED: usize = 8 * 1024 * 1024;

/// Every message that comes from elsewhere, out of the same bytes: it is refused, or comes back from what
/// is made of it, and takes a bounded multiple of its length.
pub fn control_messages(data: &[u8]) {
    there_and_back::<proto::AgentToEdge>(data);
    there_and_back::<proto::EdgeToAgent>(data);
    there_and_back::<proto::EdgeToController>(data);
    there_and_back::<proto::ControllerToEdge>(data);
    there_and_back::<proto::ToController>(data);
    there_and_back::<proto::FromController>(data);
    there_and_back::<proto::Report>(data);
    there_and_back::<proto::Mesh>(data);
    if let Some(message) = there_and_back::<proto::Revocations>(data) {
        let revoked = Revoked::from(&message);
        assert!(revoked.agents.len() <= message.agents.len() && revoked.edges.len() <= message.edges.len());
        assert!(revoked.grants.len() <= message.grants.len().min(MAX_REVOKED));
    }
}

fn there_and_back<M: Message + Default>(data: &[u8]) -> Option<M> {
    let message = at_most(MAX_DECODED, || proto::decode::<M>(data)).ok()?;
    let once = message.encode_to_vec();
    // Fields are written in their shortest form; only numbers that came one by one are written as a list,
    // with a length in front.
    assert!(once.len() <= data.len() * 3 / 2);
    let again = M::decode(once.as_slice()).expect("what was written is read");
    // By their bytes: a float that is no number equals nothing.
    assert_eq!(again.encode_to_vec(), once);
    match proto::encode(&message) {
        Ok(framed) => assert_eq!(framed[4..], once),
        Err(_) => assert!(once.len() > MAX_FRAME),
    }
    Some(message)
}

/// A stream that comes in pieces: its frames are those that stand in it, whatever the pieces.
pub fn control_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let step = usize::from(input.u8()) + 1;
    let stream = input.rest();
    let mut pieces = Pieces { rest: stream, step };
    let mut rest = stream;
    loop {
        let got = at_most(MAX_FRAME + MAX_DECODED, || {
            ready(proto::read::<proto::AgentToEdge>(&mut pieces))
        });
        let expected = frame(&mut rest);
        match (got, expected) {
            (Ok(None), Frame::End) => return,
            (Ok(Some(message)), Frame::Whole(bytes)) => {
                assert_eq!(Ok(message), proto::decode(bytes).map_err(|_| ()));
            }
            (Err(FrameError::TooLong(got)), Frame::TooLong(length)) if got == length => return,
            (Err(FrameError::Io(e)), Frame::CutOff) if e.kind() == io::ErrorKind::UnexpectedEof => return,
            (Err(FrameError::Malformed(_)), Frame::Whole(bytes)) => {
                assert!(proto::decode::<proto::AgentToEdge>(bytes).is_err());
                return;
            }
            (got, expected) => panic!("{got:?} where the stream has {expected:?}"),
        }
    }
}

#[derive(Debug)]
enum Frame<'a> {
    Whole(&'a [u8]),
    TooLong(usize),
    CutOff,
    End,
}

fn frame<'a>(rest: &mut &'a [u8]) -> Frame<'a> {
    if rest.is_empty() {
        return Frame::End;
    }
    let Some((prefix, body)) = rest.split_first_chunk() else {
        return Frame::CutOff;
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MAX_FRAME {
        return Frame::TooLong(length);
    }
    let Some((whole, next)) = body.split_at_checked(length) else {
        return Frame::CutOff;
    };
    *rest = next;
    Frame::Whole(whole)
}

/// Gives at most `step` bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    step: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.step.min(self.rest.len()).min(into.remaining());
        let (piece, rest) = self.rest.split_at(length);
        into.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

/// The output of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits, though all bytes are there"),
    }
}
