//! Tests with `kill -9`: this test binary runs one of its own tests again as a child, and kills it.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const PLACE: &str = "CORRIDOR_TEST_CRASH";
const MARK: char = '@';

/// In a child: where it shall work. `None` in any other run, where the child's test does nothing.
pub(crate) fn place() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

/// In a child: tells the parent. What was said has been said, whenever the child is killed.
pub(crate) fn say(line: &str) {
    // Past the test harness, which would keep it to itself.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").unwrap();
    out.flush().unwrap();
}

/// A child that works at `place`, and what it says.
pub(crate) struct Killed {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Killed {
    /// `test` is the ignored test's whole path in this crate.
    pub fn start(test: &str, place: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--include-ignored", "--nocapture"])
            .env(PLACE, place)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Reads until it has said so many lines; answers these.
    pub fn hear(&mut self, lines: usize) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.len() < lines {
            heard.push(self.line().expect("the child ended early"));
        }
        heard
    }

    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.out.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The harness begins the line: "test … ... @said".
            if let (Some(at), true) = (line.find(MARK), line.ends_with('\n')) {
                return Some(line[at + 1..].trim_end().to_owned());
            }
        }
    }

    /// Kills it, and answers what it had said meanwhile.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.line()).collect()
    }
}
