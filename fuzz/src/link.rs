//! Link probes and their echoes.

use corridor_probes::wire::{AckRanges, Kind, LinkEcho, LinkProbe, MAX_DATAGRAM};

use super::memory::at_most;

/// Bytes are refused, or are laid out in one way only, padding included. Nothing is allocated for them.
pub fn link_datagrams(data: &[u8]) {
    let (probe, echo) = at_most(0, || (LinkProbe::parse(data), LinkEcho::parse(data)));
    assert!(probe.is_err() || echo.is_err(), "two kinds at once");
    let mut again = Vec::new();
    if let Ok(probe) = probe {
        assert_eq!(Kind::of(data), Ok(Kind::LinkProbe));
        probe.write(&mut again, data.len());
        assert_eq!(again, data);
    }
    if let Ok(echo) = echo {
        assert_eq!(Kind::of(data), Ok(Kind::LinkEcho));
        check_ranges(&echo.body.ranges);
        echo.write(&mut again, data.len());
        assert_eq!(again, data);
    }
    assert!(data.len() <= MAX_DATAGRAM || probe.is_err() && echo.is_err());
}

/// At most so many, in order, apart from each other, and no wider than they say.
pub fn check_ranges(ranges: &AckRanges) {
    let mut end = None;
    for range in ranges.iter() {
        assert!(range.start < range.end, "an empty range");
        assert!(end.is_none_or(|end| end < range.start), "two that touch");
        end = Some(range.end);
    }
    assert_eq!(end.unwrap_or(0), ranges.span());
    assert!(ranges.len() <= AckRanges::MAX && ranges.span() <= AckRanges::MAX_SPAN);
}
