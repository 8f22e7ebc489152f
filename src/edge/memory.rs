//! The mesh as the controller last told it, on disk: an edge that restarts while the controller is away finds
//! the others again, and with them the routes that lead on from it.

use std::path::{Path, PathBuf};

use crate::{proto, remembered};

const MESH_FILE: &str = "mesh.bin";

/// The file, written beside the main loop, one version after the other.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    writing: Option<tokio::task::JoinHandle<()>>,
}

impl Memory {
    pub fn in_dir(data: &Path) -> Self {
        Self {
            path: data.join(MESH_FILE),
            writing: None,
        }
    }

    pub fn read(&self) -> proto::Mesh {
        remembered::read(&self.path)
    }

    pub fn keep(&mut self, mesh: proto::Mesh) {
        let (before, path) = (self.writing.take(), self.path.clone());
        self.writing = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let written = tokio::task::spawn_blocking(move || {
                remembered::write(&path, &mesh).map_err(|error| (path, error))
            });
            if let Ok(Err((path, error))) = written.await {
                tracing::warn!(path = %path.display(), %error, "list of edges not saved");
            }
        }));
    }
}
