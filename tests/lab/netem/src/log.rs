//! The packet log, read: one line for every fate, as `corridor-netem run --log` writes it.

use std::{collections::BTreeSet, time::Duration};

use corridor_probes::Mono;

use crate::packet::Proto;

pub(crate) const HEADER: &str = "entered_ns,from,to,proto,len,dscp,seq,fate,left_ns,residence_us,lateness_us";
/// The fate of what was not lost; those of the lost are the names of [`crate::model::Cause`].
pub(crate) const DELIVERED: &str = "delivered";

/// A packet and its fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// When the emulator read it from the sender's device, on the machine's monotonic clock.
    pub entered: Mono,
    pub from: String,
    pub to: String,
    pub proto: Proto,
    /// Of the IP packet, bytes.
    pub len: u16,
    /// How its sender marked it for routers (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Counts the packets that entered from `from` to `to`, whatever they are.
    pub seq: u64,
    /// None if it was lost.
    pub delivery: Option<Delivery>,
}

/// How a packet left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delivery {
    /// When it was written to the receiver's device.
    pub at: Mono,
    /// After it was due.
    pub late: Duration,
}

/// A line that is none of the log's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number} of the packet log cannot be read: `{line}`")]
pub struct LogError {
    pub number: usize,
    pub line: String,
}

/// All packets of a log, in the order of their fates, each once: of a duplicated one the first copy.
pub fn parse(log: &str) -> Result<Vec<Packet>, LogError> {
    let mut packets = Vec::new();
    let mut arrived = BTreeSet::new();
    for (number, line) in (1..).zip(log.lines()).skip(1) {
        let packet = packet(line).ok_or_else(|| LogError {
            number,
            line: line.to_owned(),
        })?;
        // A copy of a packet says nothing new, whether it was lost or came too.
        if arrived.insert((packet.from.clone(), packet.to.clone(), packet.seq)) {
            packets.push(packet);
        } else if packet.delivery.is_some()
            && let Some(lost) = packets.iter_mut().rev().find(|p| p.same(&packet))
            && lost.delivery.is_none()
        {
            lost.delivery = packet.delivery;
        }
    }
    Ok(packets)
}

impl Packet {
    fn same(&self, other: &Self) -> bool {
        (self.seq, &self.from, &self.to) == (other.seq, &other.from, &other.to)
    }

    /// From entry to exit; none if it was lost.
    pub fn residence(&self) -> Option<Duration> {
        Some(self.delivery?.at.since(self.entered))
    }
}

fn packet(line: &str) -> Option<Packet> {
    let fields: Vec<&str> = line.split(',').collect();
    let &[entered, from, to, proto, len, dscp, seq, fate, left, _, late] = fields.as_slice() else {
        return None;
    };
    let delivery = (fate == DELIVERED).then(|| {
        Some(Delivery {
            at: Mono::from_nanos(left.parse().ok()?),
            late: Duration::try_from_secs_f64(late.parse::<f64>().ok()?.max(0.0) / 1e6).ok()?,
        })
    });
    Some(Packet {
        entered: Mono::from_nanos(entered.parse().ok()?),
        from: from.to_owned(),
        to: to.to_owned(),
        proto: serde_json::from_value(proto.into()).ok()?,
        len: len.parse().ok()?,
        dscp: dscp.parse().ok()?,
        seq: seq.parse().ok()?,
        delivery: match delivery {
            Some(read) => Some(read?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_written() {
        let log = format!(
            "{HEADER}\n1000,a,b,udp,428,46,7,delivered,21000,20.0,1.5\n2000,a,b,icmp,84,0,8,chance,,,\n\
             1000,a,b,udp,428,46,7,delivered,30000,29.0,0.0\n"
        );
        let packets = parse(&log).unwrap();
        assert_eq!(packets.len(), 2, "a copy is no packet");
        let first = &packets[0];
        assert_eq!(
            (first.len, first.dscp, first.seq, first.proto),
            (428, 46, 7, Proto::Udp)
        );
        assert_eq!(first.residence(), Some(Duration::from_micros(20)));
        assert_eq!(
            first.delivery.map(|delivery| delivery.late),
            Some(Duration::from_nanos(1_500))
        );
        assert_eq!((packets[1].proto, packets[1].residence()), (Proto::Icmp, None));
    }

    #[test]
    fn a_copy_that_arrives_makes_up_for_one_that_was_lost() {
        let log = format!("{HEADER}\n1,a,b,udp,428,0,7,device,,,\n1,a,b,udp,428,0,7,delivered,3,0.0,0.0\n");
        let packets = parse(&log).unwrap();
        assert_eq!((packets.len(), packets[0].delivery.is_some()), (1, true));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = parse(&format!("{HEADER}\n1,a,b,udp,428,0,7,delivered,soon,,\n")).unwrap_err();
        assert_eq!(error.number, 2);
    }
}
