//! One probe session of a target, by one method.

use std::time::Duration;

use corridor_probes::{
    Arrival, ProbeSession, SessionConfig, SessionId,
    stamp::{Echoes, FIRST_SEQ},
    target::Method,
};
use rand::{RngExt as _, rngs::StdRng};

use super::Answer;

#[derive(Debug)]
pub struct Session {
    /// Among the sessions of its target.
    pub no: u32,
    pub method: Method,
    pub books: ProbeSession,
    echoes: Option<Echoes>,
}

impl Session {
    pub fn new(no: u32, method: Method, rng: &mut StdRng, origin_ns: i128) -> Self {
        let id = SessionId(rng.random());
        let (first, echoes, doubt_for) = if method == Method::Stamp {
            let doubt_for = SessionConfig::default().doubt_for;
            (FIRST_SEQ, Some(Echoes::new(id, origin_ns)), doubt_for)
        } else {
            (rng.random(), None, Duration::ZERO)
        };
        let config = SessionConfig {
            doubt_for,
            ..SessionConfig::default()
        };
        Self {
            no,
            method,
            books: ProbeSession::new(id, first, config),
            echoes,
        }
    }

    pub fn retire(mut self) -> Self {
        self.books.retire();
        self
    }

    pub fn answered(&mut self, arrival: Arrival, answer: &Answer) {
        match (answer, &mut self.echoes) {
            (Answer::Number(number), None) => {
                self.books.on_answer(arrival, *number);
            }
            (Answer::Stamp(packet), Some(echoes)) => {
                let echo = echoes.take(packet);
                self.books.on_stamp_echo(arrival, &echo);
            }
            // Another method's.
            _ => {}
        }
    }
}
