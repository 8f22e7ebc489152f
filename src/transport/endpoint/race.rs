//! Which of a peer's addresses answers first.

use std::net::SocketAddr;

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    super::{close::Closed, config},
    ConnectError,
};
use crate::clock::{self, Clock};

/// The order in which to try: the last winner, then the others with families in turn, beginning with the
/// first one's (RFC 8305 §4), otherwise as given. Repeats are left out; at most `limit`.
pub(super) fn order(addresses: &[SocketAddr], won: Option<SocketAddr>, limit: usize) -> Vec<SocketAddr> {
    let won = won.filter(|address| addresses.contains(address));
    let mut rest: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if Some(*address) != won && !rest.contains(address) {
            rest.push(*address);
        }
    }
    let mut ordered: Vec<SocketAddr> = won.into_iter().collect();
    let mut want_v6 = match ordered.first() {
        Some(won) => !won.is_ipv6(),
        None => rest.first().is_some_and(SocketAddr::is_ipv6),
    };
    while ordered.len() < limit && !rest.is_empty() {
        let next = rest.iter().position(|a| a.is_ipv6() == want_v6).unwrap_or(0);
        ordered.push(rest.remove(next));
        want_v6 = !want_v6;
    }
    ordered
}

/// Starts an attempt at each address, [`config::ATTEMPT_DELAY`] after the one before or as soon as all
/// before have failed, until one succeeds or none is left.
pub(super) async fn run(
    clock: &dyn Clock,
    name: &str,
    order: Vec<SocketAddr>,
    start: impl Fn(SocketAddr) -> Result<quinn::Connecting, quinn::ConnectError>,
) -> Result<(quinn::Connection, SocketAddr), ConnectError> {
    let mut waiting = order.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failed = Vec::new();
    let mut stagger = clock::sleep(clock, config::ATTEMPT_DELAY);
    let mut may_start = true;
    loop {
        if may_start || attempts.is_empty() {
            match waiting.next() {
                Some(address) => match start(address) {
                    Ok(connecting) => {
                        attempts.push(attempt(clock, address, connecting));
                        stagger = clock::sleep(clock, config::ATTEMPT_DELAY);
                    }
                    // No socket of its family: the next one at once.
                    Err(quinn::ConnectError::InvalidRemoteAddress(_)) => continue,
                    Err(quinn::ConnectError::InvalidServerName(name)) => {
                        return Err(ConnectError::BadName(name));
                    }
                    Err(_) => return Err(ConnectError::EndpointClosed),
                },
                None if attempts.is_empty() => break,
                None => {}
            }
            may_start = false;
        }
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some((address, Ok(connection))) => return Ok((connection, address)),
                Some((address, Err(e))) => failed.push((address, e)),
                None => {}
            },
            () = &mut stagger, if waiting.len() > 0 => may_start = true,
        }
    }
    let name = name.to_owned();
    if failed.is_empty() {
        return Err(ConnectError::NoAddress { name });
    }
    Err(ConnectError::Failed {
        name,
        attempts: failed,
    })
}

async fn attempt(
    clock: &dyn Clock,
    address: SocketAddr,
    connecting: quinn::Connecting,
) -> (SocketAddr, Result<quinn::Connection, Closed>) {
    tokio::select! {
        biased;
        ended = connecting => (address, ended.map_err(Closed::from)),
        () = clock::sleep(clock, config::HANDSHAKE_TIMEOUT) => (address, Err(Closed::TimedOut)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(list: &str) -> Vec<SocketAddr> {
        list.split_whitespace().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_after_the_last_winner() {
        let all = addrs("[2001:db8::1]:443 [2001:db8::1]:4433 192.0.2.1:443 192.0.2.1:4433 192.0.2.1:443");
        assert_eq!(
            order(&all, None, 16),
            addrs("[2001:db8::1]:443 192.0.2.1:443 [2001:db8::1]:4433 192.0.2.1:4433")
        );
        assert_eq!(
            order(&all, Some(all[3]), 16),
            addrs("192.0.2.1:4433 [2001:db8::1]:443 192.0.2.1:443 [2001:db8::1]:4433")
        );
        let stranger = addrs("198.51.100.1:1")[0];
        assert_eq!(
            order(&all, Some(stranger), 2),
            addrs("[2001:db8::1]:443 192.0.2.1:443")
        );
        assert_eq!(
            order(&addrs("192.0.2.1:1 192.0.2.1:2"), None, 16),
            addrs("192.0.2.1:1 192.0.2.1:2")
        );
        assert!(order(&[], Some(all[0]), 16).is_empty());
    }
}
