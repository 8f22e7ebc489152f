//! Framing of control messages on a stream: a length as four bytes, most significant first, then the
//! message. A frame's size, and the parts that it consists of, are bounded before anything is allocated for
//! them.

use std::io;

use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The largest control message, in bytes. A report of 50 windows of 512 samples is about 120 kB.
pub const MAX_FRAME: usize = 256 * 1024;

/// Texts, lists' items and messages within one message, at most. Two bytes stand for an empty one, of which
/// a window takes 312 of memory: the 131,072 of a full frame would take 41 MB. Those that are sent have 16 bytes and
/// more each; a report of 700 windows has 5,000.
pub const MAX_PARTS: usize = MAX_FRAME / 16;

/// Messages within messages, at most: a report, its events, the trace of one, its hops, their addresses.
const LEVELS: usize = 5;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("control message of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLong(usize),
    #[error("control message has more than {MAX_PARTS} parts")]
    TooManyParts,
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
    if parts(bytes, LEVELS) > MAX_PARTS {
        return Err(FrameError::TooManyParts);
    }
    Ok(M::decode(bytes)?)
}

/// How many parts with a length there are in `bytes`, down to so many levels, up to the first byte that is of
/// no message. Which of them are texts is not known here; a text is a message of few parts, if it is one.
fn parts(mut bytes: &[u8], levels: usize) -> usize {
    let mut count = 0;
    while let Ok((_, wire_type)) = decode_key(&mut bytes) {
        let length = match wire_type {
            WireType::Varint => decode_varint(&mut bytes).map(|_| 0).ok(),
            WireType::ThirtyTwoBit => Some(4),
            WireType::SixtyFourBit => Some(8),
            WireType::LengthDelimited => decode_varint(&mut bytes)
                .ok()
                .and_then(|length| usize::try_from(length).ok()),
            WireType::StartGroup | WireType::EndGroup => Some(0),
        };
        let Some((part, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            break;
        };
        bytes = rest;
        if wire_type == WireType::LengthDelimited {
            count += 1;
            if levels > 1 {
                count += parts(part, levels - 1);
            }
        }
    }
    count
}

/// Writes one message.
pub async fn write<M: Message>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), FrameError> {
    to.write_all(&encode(message)?).await?;
    Ok(())
}

/// Reads one message; `None` at a clean end of the stream, which is one between two messages.
///
/// Not cancel-safe: a task of its own reads each stream.
pub async fn read<M: Message + Default>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<M>, FrameError> {
    let mut prefix = [0; 4];
    let begun = from.read(&mut prefix).await?;
    if begun == 0 {
        return Ok(None);
    }
    from.read_exact(&mut prefix[begun..]).await?;
    let len = u32::from_be_bytes(prefix) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body).await?;
    decode(&body).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        Draining, EdgeInfo, EdgeToAgent, Event, FromController, Hop, Plan, Plans, Report, ToController,
        Trace, from_controller, to_controller,
    };

    async fn all(mut stream: &[u8]) -> Result<usize, FrameError> {
        let mut messages = 0;
        while read::<EdgeToAgent>(&mut stream).await?.is_some() {
            messages += 1;
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn a_stream_ends_between_messages_or_is_cut_off() {
        let body = crate::proto::edge_to_agent::Body::Draining(Draining { seconds_left: 3 });
        let one = encode(&EdgeToAgent { body: Some(body) }).unwrap();
        let two = [&one[..], &one].concat();
        for end in 0..=two.len() {
            let read = all(&two[..end]).await;
            match end % one.len() {
                0 => assert_eq!(read.unwrap(), end / one.len()),
                _ => assert!(matches!(read, Err(FrameError::Io(_))), "{end}: {read:?}"),
            }
        }
    }

    #[test]
    fn parts_are_counted_on_every_level_and_bounded() {
        let plan = Plan {
            edges: vec![
                EdgeInfo {
                    id: 1,
                    addresses: vec!["192.0.2.1:4433".into(); 3],
                    ..EdgeInfo::default()
                };
                2
            ],
            ..Plan::default()
        };
        let plans = Plans {
            version: 0,
            plans: vec![plan; 5],
        };
        // Itself, and in each plan two edges with three addresses each.
        let body = from_controller::Body::Plans(plans);
        let message = FromController { body: Some(body) }.encode_to_vec();
        assert_eq!(parts(&message, LEVELS), 1 + 5 * (1 + 2 * (1 + 3)));

        let trace = Trace {
            hops: vec![
                Hop {
                    addresses: vec!["192.0.2.0/24".into(); 3],
                    ..Hop::default()
                };
                4
            ],
            ..Trace::default()
        };
        let event = Event {
            trace: Some(trace),
            ..Event::default()
        };
        let report = Report {
            events: vec![event; 2],
            ..Report::default()
        };
        let body = to_controller::Body::Report(report);
        let message = ToController { body: Some(body) }.encode_to_vec();
        assert_eq!(parts(&message, LEVELS), 1 + 2 * (1 + 1 + 4 * (1 + 3)));

        let report = |windows: usize| {
            // An empty window each, and in the end a byte that nothing can begin with.
            let report = [&[0x32, 0].repeat(windows)[..], &[7]].concat();
            decode::<Report>(&report).unwrap_err()
        };
        assert!(matches!(report(MAX_PARTS), FrameError::Malformed(_)));
        assert!(matches!(report(MAX_PARTS + 1), FrameError::TooManyParts));
        // A field that comes several times is one message, put together.
        let half = [&[0x12, 0x80, 0x80, 0x01][..], &[0x32, 0].repeat(MAX_PARTS / 2)].concat();
        let twice = decode::<ToController>(&half.repeat(2)).unwrap_err();
        assert!(matches!(twice, FrameError::TooManyParts));
    }

    #[tokio::test]
    async fn a_length_is_bounded_before_anything_is_read() {
        for (length, is_long) in [
            (MAX_FRAME, false),
            (MAX_FRAME + 1, true),
            (u32::MAX as usize, true),
        ] {
            let prefix = (length as u32).to_be_bytes();
            let error = all(&prefix).await.unwrap_err();
            assert_eq!(
                matches!(error, FrameError::TooLong(l) if l == length),
                is_long,
                "{error}"
            );
        }
    }
}
