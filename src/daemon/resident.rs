//! Gives back what starting took: most of the program's pages that are mapped after a start belong to code
//! that runs once, such as reading the command line and enrolling.

use std::time::Duration;

/// The steps of a start, each of which needs other code: reading the command line and the identity, asking
/// for the time, connecting, the first plans and reports. Let go after each, they never add up.
const STARTING: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(45),
];
/// What runs rarely, such as a class that begins or a certificate that is renewed, leaves its pages behind.
const AGAIN: Duration = Duration::from_secs(600);

/// Runs as long as the process. For processes that live long and do little; a busy one needs its pages.
pub async fn keep_small() {
    for wait in STARTING.into_iter().chain(std::iter::repeat(AGAIN)) {
        tokio::time::sleep(wait).await;
        match give_back() {
            Ok(bytes) => tracing::debug!(bytes, "mappings of program files let go"),
            Err(error) => tracing::debug!(%error, "mappings of program files stay"),
        }
    }
}

/// Lets go of the pages of program files that are mapped read-only, and answers how many bytes the mappings
/// span. They stay in the kernel's page cache, and each is mapped again at its next use.
#[cfg(target_os = "linux")]
fn give_back() -> std::io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut bytes = 0;
    for (start, end) in maps.lines().filter_map(unwritten) {
        let_go(start, end - start)?;
        bytes += end - start;
    }
    Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
fn give_back() -> std::io::Result<usize> {
    Ok(0)
}

/// Where a line of `maps` (proc(5)) says that a file is mapped, if no page of that was ever written: code,
/// and what lies before it from the file's first byte on. What was relocated at the start is further behind.
#[cfg(target_os = "linux")]
fn unwritten(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let (_device, _inode, path) = (fields.next()?, fields.next()?, fields.next()?);
    let first = offset.bytes().all(|digit| digit == b'0');
    if !path.starts_with('/') || !(access == "r-xp" || access == "r--p" && first) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    (start < end).then_some((start, end))
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "std has no way to advise the kernel on memory")]
fn let_go(start: usize, length: usize) -> std::io::Result<()> {
    // SAFETY: the range is a private mapping of a file whose pages this process has not written, so that
    // the next access of any thread reads the same bytes from the file (madvise(2), MADV_DONTNEED).
    let rc = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    if rc == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_one_writes() {
        let table = [
            (
                "1000-3000 r-xp 00005000 fe:00 7 /usr/bin/corridor",
                Some((0x1000, 0x3000)),
            ),
            (
                "1000-3000 r--p 00000000 fe:00 7 /usr/bin/corridor",
                Some((0x1000, 0x3000)),
            ),
            // Relocated, and then made read-only.
            ("1000-3000 r--p 00006000 fe:00 7 /usr/bin/corridor", None),
            ("1000-3000 rw-p 00000000 fe:00 7 /usr/bin/corridor", None),
            ("1000-3000 rwxp 00000000 fe:00 7 /usr/bin/corridor", None),
            ("1000-3000 r-xs 00000000 fe:00 7 /usr/bin/corridor", None),
            ("1000-3000 r-xp 00000000 00:00 0 [vdso]", None),
            ("1000-3000 r-xp 00000000 00:00 0", None),
            ("1000-1000 r-xp 00000000 fe:00 7 /usr/bin/corridor", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(unwritten(line), expected, "{line}");
        }
    }

    #[test]
    fn the_process_goes_on_without_its_mappings() {
        let text = || std::fs::read_to_string("/proc/self/status").unwrap();
        let before = text();
        assert!(give_back().unwrap() > 0);
        assert_eq!(before.lines().count(), text().lines().count());
    }
}
