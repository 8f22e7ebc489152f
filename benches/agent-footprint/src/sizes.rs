//! How long the agent's datagrams are, so that the bare client's are as long.

use anyhow::Context as _;
use corridor_bench::sizes::Sizes;
use corridor_probes::{
    AgentId, EdgeId, Route, SessionId,
    wire::{AckRanges, EchoBody, LinkEcho, LinkProbe, RouteProbe, Stamp},
};

const PROBE: LinkProbe = LinkProbe {
    session: SessionId(1),
    seq: 1,
    sent_us: 1,
    floor: 30,
};

/// What an echo holds where nothing was lost: one run of acknowledged numbers.
fn body() -> anyhow::Result<EchoBody> {
    let mut ranges = AckRanges::EMPTY;
    ranges.push(0, 30)?;
    Ok(EchoBody {
        epoch: 1,
        recv_us: 1,
        residence_us: 1,
        count: 1,
        overtaken: false,
        reordered: 0,
        base: 30,
        ranges,
    })
}

/// A link probe and its echo.
pub fn link() -> anyhow::Result<Sizes> {
    let echo = LinkEcho {
        session: PROBE.session,
        seq: PROBE.seq,
        body: body()?,
    };
    Ok(Sizes {
        out: length(|out| PROBE.write(out, 0)),
        back: length(|out| echo.write(out, 0)),
    })
}

/// A probe along a route of `edges` edges to an agent and its echo, stamped by every edge on both ways.
pub fn route(edges: usize) -> anyhow::Result<Sizes> {
    let (probe, echo) = along(edges, 0, 2 * edges)?;
    Ok(Sizes {
        out: probe,
        back: echo,
    })
}

/// A peer's probe along such a route as it comes here, stamped on the way, and the answer to it as it goes.
pub fn peer(edges: usize) -> anyhow::Result<Sizes> {
    let (probe, echo) = along(edges, edges, edges)?;
    Ok(Sizes {
        out: probe,
        back: echo,
    })
}

/// Lengths of a probe and of an echo with so many stamps.
fn along(edges: usize, on_probe: usize, on_echo: usize) -> anyhow::Result<(usize, usize)> {
    let ids: Option<Vec<_>> = (1..=edges)
        .map(|id| u16::try_from(id).ok().and_then(EdgeId::new))
        .collect();
    let route = Route::new(&ids.context("a route's edges")?)?;
    let mut probe = RouteProbe::new(route, AgentId(1), Some(AgentId(2)), PROBE);
    let mut echo = probe.answer(body()?);
    for _ in 0..on_probe {
        probe.stamps.push(Stamp::default());
    }
    for _ in 0..on_echo {
        echo.stamps.push(Stamp::default());
    }
    Ok((
        length(|out| probe.write(out, 0)),
        length(|out| echo.write(out, 0)),
    ))
}

fn length(write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_adds_its_stamp() {
        assert_eq!(link().unwrap().out, 23);
        let (one, two) = (route(1).unwrap(), route(2).unwrap());
        assert_eq!(two.out, one.out + 2, "two bytes an edge");
        assert_eq!(two.back, one.back + 2 + 2 * 8, "and two stamps");
        let peer = peer(1).unwrap();
        assert_eq!((peer.out, peer.back), (one.out + 8, one.back - 8));
    }
}
