//! What the controller last told this edge, on disk: an edge that restarts while the controller is away finds the
//! others again, and with them the routes that lead on from it, and refuses whom it refused before.

use std::path::{Path, PathBuf};

use crate::{proto, remembered};

const MESH_FILE: &str = "mesh.bin";
const REVOKED_FILE: &str = "revoked.bin";

/// See the module's documentation.
#[derive(Debug)]
pub struct Memory {
    mesh: File,
    revoked: File,
}

impl Memory {
    pub fn in_dir(data: &Path) -> Self {
        Self {
            mesh: File::new(data.join(MESH_FILE)),
            revoked: File::new(data.join(REVOKED_FILE)),
        }
    }

    pub fn mesh(&self) -> proto::Mesh {
        remembered::read(&self.mesh.path)
    }

    pub fn revoked(&self) -> proto::Revocations {
        remembered::read(&self.revoked.path)
    }

    pub fn keep_mesh(&mut self, mesh: proto::Mesh) {
        self.mesh.keep(mesh);
    }

    pub fn keep_revoked(&mut self, list: proto::Revocations) {
        self.revoked.keep(list);
    }
}

/// A file, written beside the main loop, one version after the other.
#[derive(Debug)]
struct File {
    path: PathBuf,
    writing: Option<tokio::task::JoinHandle<()>>,
}

impl File {
    const fn new(path: PathBuf) -> Self {
        Self { path, writing: None }
    }

    fn keep(&mut self, message: impl prost::Message + 'static) {
        let (before, path) = (self.writing.take(), self.path.clone());
        self.writing = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let written = tokio::task::spawn_blocking(move || {
                remembered::write(&path, &message).map_err(|error| (path, error))
            });
            if let Ok(Err((path, error))) = written.await {
                tracing::warn!(path = %path.display(), %error, "what the controller said is not saved");
            }
        }));
    }
}
