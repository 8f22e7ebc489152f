//! What a controller last said, in a small file, so that a restart need not wait for it to say so again.

use std::{io, path::Path};

use crate::proto;

/// Replaces the file as a whole: after a crash it is the old one or the new one.
pub fn write(path: &Path, message: &impl prost::Message) -> io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, message.encode_to_vec())?;
    std::fs::rename(&temporary, path)
}

/// The file's message; the default one if there is no file, or it is damaged.
pub fn read<M: prost::Message + Default>(path: &Path) -> M {
    let bytes = std::fs::read(path).unwrap_or_default();
    proto::decode(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "damaged; it is done without");
        M::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.bin");
        assert_eq!(read::<proto::Mesh>(&path), proto::Mesh::default());
        let mesh = proto::Mesh {
            busy: vec![7],
            ..proto::Mesh::default()
        };
        write(&path, &proto::Mesh::default()).unwrap();
        write(&path, &mesh).unwrap();
        assert_eq!(read::<proto::Mesh>(&path), mesh);
        std::fs::write(&path, [0xff; 9]).unwrap();
        assert_eq!(read::<proto::Mesh>(&path), proto::Mesh::default());
        assert!(write(&dir.path().join("none/mesh.bin"), &mesh).is_err());
    }
}
