//! What fuzzing has found, each with a name: the file of that name under `fuzz/regressions/<target>`.

use super::{TARGETS, dir, files, target};
use std::{collections::BTreeSet, fs};

/// A test for each, and the list of them.
macro_rules! regressions {
    ($($(#[$doc:meta])* $target:ident / $name:ident,)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                let path = dir("regressions", stringify!($target)).join(stringify!($name));
                target(stringify!($target))(&fs::read(path).unwrap());
            }
        )*

        const ALL: &[(&str, &str)] = &[$((stringify!($target), stringify!($name))),*];
    };
}

regressions! {
    /// It was taken for an end between two messages.
    control_frames / a_stream_cut_off_within_a_length,
    /// The window that such counts stand in had more reordered than sent once a probe of it was dropped here.
    probe_session / a_drop_after_a_reflector_counted_more_reordered_than_there_are,
    /// An echo that its own far end had still before it was read, and could be passed on, to nobody.
    route_datagrams / an_echo_before_its_own_far_end,
}

#[test]
fn every_file_is_a_test() {
    let files: BTreeSet<_> = TARGETS
        .iter()
        .flat_map(|(target, _)| {
            files("regressions", target)
                .into_iter()
                .map(|(file, _)| (*target, file))
        })
        .collect();
    let tests: BTreeSet<_> = ALL
        .iter()
        .map(|&(target, name)| (target, name.to_owned()))
        .collect();
    assert_eq!(files, tests);
}
