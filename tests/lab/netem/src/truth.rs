//! What really became of a client's packets and of the answers to them, by the packet log.

use std::{ops::RangeInclusive, time::Duration};

use crate::{log::Packet, packet::Proto};

/// Which packets are meant: those between two nodes whose length says what is in them.
#[derive(Debug, Clone)]
pub struct Class<'a> {
    pub client: &'a str,
    pub server: &'a str,
    pub proto: Proto,
    /// Of IP packets, bytes, the same both ways.
    pub lengths: RangeInclusive<u16>,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    pub up: Way,
    pub down: Way,
    /// One for each packet that was answered and whose answer came, in the order of the answers.
    pub round_trips: Vec<RoundTrip>,
    /// How late the emulator was with each of these packets, both ways.
    pub late: Vec<Duration>,
}

/// Counts of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Way {
    pub sent: u64,
    pub lost: u64,
    /// Delivered after one that entered later (RFC 4737 §3).
    pub reordered: u64,
}

/// How long a packet and its answer were on their ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    pub up: Duration,
    pub down: Duration,
}

/// The server did not answer every packet once, so that it is not known which answer belongs to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{delivered} packets came to the server, which sent {answers} answers")]
pub struct Unpaired {
    pub delivered: usize,
    pub answers: usize,
}

impl RoundTrip {
    pub fn total(&self) -> Duration {
        self.up + self.down
    }
}

/// Of the packets of `class`. The server must have answered each in the order in which they came.
pub fn of(packets: &[Packet], class: &Class<'_>) -> Result<Truth, Unpaired> {
    let between = |from: &str, to: &str| -> Vec<&Packet> {
        let mut found: Vec<_> = packets
            .iter()
            .filter(|p| p.from == from && p.to == to && p.proto == class.proto)
            .filter(|p| class.lengths.contains(&p.len))
            .collect();
        found.sort_by_key(|p| p.seq);
        found
    };
    let (up, answers) = (
        between(class.client, class.server),
        between(class.server, class.client),
    );
    let mut came = by_arrival(&up);
    let questions = came.len();
    if questions != answers.len() {
        return Err(Unpaired {
            delivered: questions,
            answers: answers.len(),
        });
    }
    let mut round_trips: Vec<_> = came
        .drain(..)
        .zip(&answers)
        .filter_map(|(question, answer)| {
            let (up, down) = (question.residence()?, answer.residence()?);
            Some((answer.delivery?.at, RoundTrip { up, down }))
        })
        .collect();
    round_trips.sort_by_key(|&(at, _)| at);
    Ok(Truth {
        up: way(&up),
        down: way(&answers),
        round_trips: round_trips.into_iter().map(|(_, trip)| trip).collect(),
        late: up
            .iter()
            .chain(&answers)
            .filter_map(|p| Some(p.delivery?.late))
            .collect(),
    })
}

fn by_arrival<'a>(packets: &[&'a Packet]) -> Vec<&'a Packet> {
    let mut came: Vec<_> = packets.iter().copied().filter(|p| p.delivery.is_some()).collect();
    came.sort_by_key(|p| p.delivery.map(|delivery| delivery.at));
    came
}

fn way(packets: &[&Packet]) -> Way {
    let came = by_arrival(packets);
    let mut highest = None;
    let mut reordered = 0;
    for packet in &came {
        reordered += u64::from(highest > Some(packet.seq));
        highest = highest.max(Some(packet.seq));
    }
    Way {
        sent: packets.len() as u64,
        lost: (packets.len() - came.len()) as u64,
        reordered,
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::Mono;

    use super::*;
    use crate::log::Delivery;

    fn packet(from: &str, seq: u64, entered: i64, left: Option<i64>) -> Packet {
        Packet {
            entered: Mono::from_millis(entered),
            from: from.to_owned(),
            to: if from == "a" { "b" } else { "a" }.to_owned(),
            proto: Proto::Udp,
            len: 400,
            dscp: 0,
            seq,
            delivery: left.map(|at| Delivery {
                at: Mono::from_millis(at),
                late: Duration::ZERO,
            }),
        }
    }

    const CLASS: Class<'_> = Class {
        client: "a",
        server: "b",
        proto: Proto::Udp,
        lengths: 400..=499,
    };

    #[test]
    fn answers_belong_to_questions_in_the_order_of_arrival() {
        // The third overtakes the second and is answered first; the answer to the fourth is lost.
        let packets = [
            packet("a", 0, 0, None),
            packet("a", 1, 10, Some(50)),
            packet("a", 2, 20, Some(45)),
            packet("a", 3, 30, Some(60)),
            packet("b", 0, 46, Some(56)),
            packet("b", 1, 50, Some(70)),
            packet("b", 2, 60, None),
            Packet {
                len: 80,
                ..packet("a", 4, 40, Some(70))
            },
        ];
        let truth = of(&packets, &CLASS).unwrap();
        let count = |sent, lost, reordered| Way {
            sent,
            lost,
            reordered,
        };
        assert_eq!((truth.up, truth.down), (count(4, 1, 1), count(3, 1, 0)));
        let trips: Vec<_> = truth.round_trips.iter().map(|t| t.total().as_millis()).collect();
        assert_eq!(trips, [25 + 10, 40 + 20]);
    }

    #[test]
    fn an_answer_too_few_is_an_error() {
        let packets = [
            packet("a", 0, 0, Some(5)),
            packet("a", 1, 1, Some(6)),
            packet("b", 0, 6, None),
        ];
        assert_eq!(
            of(&packets, &CLASS),
            Err(Unpaired {
                delivered: 2,
                answers: 1
            })
        );
    }
}
