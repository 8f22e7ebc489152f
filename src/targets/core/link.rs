//! One target at one address: its ladder, its sessions, and what is not known yet to be loss.
//!
//! Windows in which nothing was answered are held until it is known what that means: an answer shows that the
//! target lives, so that they are losses, and so does a trial that nothing answers; a trial that another method
//! answers shows that the method had failed, and what it lost is forgotten.

use std::{collections::VecDeque, net::SocketAddr};

use corridor_probes::{
    Mono,
    target::{Change, Ladder, LadderConfig, Method, Standing},
};
use rand::{RngExt as _, rngs::StdRng};

use super::{No, of_no_session, session::Session};
use crate::reporting::{About, By, Closed};

/// Held windows beyond are let go, oldest first: more than a doubt and its trial take.
const MAX_HELD: usize = 32;

/// See the module's documentation.
#[derive(Debug)]
pub struct Link {
    pub no: No,
    pub address: SocketAddr,
    pub ladder: Ladder,
    /// How many there were.
    pub sessions: u32,
    pub session: Option<Session>,
    /// Sends no more, but its books are open.
    retired: Option<Session>,
    held: VecDeque<Closed>,
}

impl Link {
    pub fn new(no: No, address: SocketAddr, now: Mono) -> Self {
        Self {
            no,
            address,
            ladder: Ladder::new(LadderConfig::default(), now),
            sessions: 0,
            session: None,
            retired: None,
            held: VecDeque::new(),
        }
    }

    pub fn session_of(&mut self, no: u32) -> Option<&mut Session> {
        let sessions = [self.session.as_mut(), self.retired.as_mut()];
        sessions.into_iter().flatten().find(|s| s.no == no)
    }

    pub fn next_wakeup(&self) -> Mono {
        let sessions = [self.session.as_ref(), self.retired.as_ref()];
        let closes = sessions
            .into_iter()
            .flatten()
            .filter_map(|s| s.books.next_close());
        closes
            .chain([self.ladder.next_wakeup()])
            .min()
            .unwrap_or(self.ladder.next_wakeup())
    }

    pub fn close_windows(&mut self, name: &str, now: Mono) {
        for session in [self.retired.as_mut(), self.session.as_mut()]
            .into_iter()
            .flatten()
        {
            while let Some(window) = session.books.poll_window(now) {
                self.held.push_back(Closed {
                    about: About::Target {
                        target: name.to_owned(),
                        by: By::Method(session.method),
                    },
                    session: session.books.id().0,
                    total: session.books.totals(),
                    window,
                    every: super::GRID * super::EVERY.period().get(),
                });
            }
        }
        if self
            .retired
            .as_ref()
            .is_some_and(|s| s.books.next_close().is_none())
        {
            self.retired = None;
        }
    }

    /// Takes up another method. Whether the session is another one now. What the trial saw of the first one is told at
    /// once: a class may wait for nothing else, and the session's first window closes seconds later.
    pub fn change(
        &mut self,
        name: &str,
        change: Change,
        rng: &mut StdRng,
        origin_ns: i128,
        now: Mono,
    ) -> bool {
        let Change {
            from,
            to,
            failed,
            seen,
        } = change;
        if from.method() == to.method() {
            return false;
        }
        let old = self.session.take();
        if failed || !from.method().is_some_and(Method::counts_losses) {
            self.retired = None;
            self.held.retain(|closed| closed.window.ledger.received > 0);
        } else {
            self.retired = old.map(Session::retire);
        }
        if let (None, Some(method)) = (from.method(), to.method()) {
            let seen: Vec<_> = seen.into_iter().flatten().collect();
            let about = About::Target {
                target: name.to_owned(),
                by: By::Method(method),
            };
            if !seen.is_empty() {
                self.held
                    .push_back(of_no_session(about, rng.random(), &seen, now));
            }
        }
        self.session = to.method().map(|method| {
            self.sessions += 1;
            Session::new(self.sessions, method, rng, origin_ns)
        });
        true
    }

    /// The windows of which it is known what they mean.
    pub fn release(&mut self) -> impl Iterator<Item = Closed> {
        let is_lost = matches!(self.ladder.standing(), Standing::Lost(_));
        let known = if is_lost {
            self.held.len()
        } else {
            let answered = self.held.iter().rposition(|c| c.window.ledger.received > 0);
            let sent = self.held.iter().position(|c| c.window.ledger.sent > 0);
            // Windows in which nothing was sent wait for nothing.
            answered.map_or(sent.unwrap_or(self.held.len()), |last| last + 1)
        };
        let beyond = self.held.len().saturating_sub(MAX_HELD);
        self.held.drain(..known.max(beyond))
    }
}
