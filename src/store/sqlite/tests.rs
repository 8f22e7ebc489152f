use std::path::Path;

use super::Sqlite;
use crate::store::{
    Store,
    conformance::{Backend, NOON, conformance_suite},
};

struct InFiles(tempfile::TempDir);

impl Backend for InFiles {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&mut self) -> Box<dyn Store> {
        Box::new(open(self.0.path()))
    }

    fn lasts(&self) -> bool {
        true
    }
}

struct InMemory;

impl Backend for InMemory {
    fn new() -> Self {
        Self
    }

    fn open(&mut self) -> Box<dyn Store> {
        Box::new(Sqlite::in_memory().unwrap())
    }

    fn lasts(&self) -> bool {
        false
    }
}

fn open(dir: &Path) -> Sqlite {
    Sqlite::open(dir, NOON).unwrap()
}

mod in_files {
    super::conformance_suite!(super::InFiles);
}

mod in_memory {
    super::conformance_suite!(super::InMemory);
}
