//! The folders that a component sees, made when it is loaded.

use crate::manifest::GuestFiles;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder of the host that the guest sees, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: String,
}

/// Mounts, and the copies that they show for as long as this lives.
#[derive(Debug, Default)]
pub struct MountedFiles {
    mounts: Vec<Mount>,
    /// Held, not read: what the mounts show goes with it.
    _copies: Option<Copies>,
}

/// A folder of our own, which goes with its owner.
#[derive(Debug)]
struct Copies {
    folder: PathBuf,
}

impl Drop for Copies {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "copied files stay behind");
        }
    }
}

impl MountedFiles {
    /// Blocks: copies files into a new folder in `folder` where the manifest names single ones.
    pub fn make(files: &GuestFiles, component: &str, folder: &Path) -> io::Result<Self> {
        let mount = |source: PathBuf| vec![Mount { source, destination: "/".to_owned() }];
        let copied = match files {
            GuestFiles::None => return Ok(Self::default()),
            GuestFiles::Folder(source) => return Ok(Self { mounts: mount(source.clone()), _copies: None }),
            GuestFiles::Copies(copied) => copied,
        };
        // A component may be loaded anew while the files of its last load are in use.
        static LOADS: AtomicU64 = AtomicU64::new(0);
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        let copies = Copies { folder: folder.join(format!("{component}-{load}")) };
        std::fs::create_dir_all(&copies.folder)?;
        for file in copied {
            let to = copies.folder.join(&file.destination);
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", file.source.display()))
            };
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent).map_err(named)?;
            }
            std::fs::copy(&file.source, &to).map_err(named)?;
        }
        Ok(Self { mounts: mount(copies.folder.clone()), _copies: Some(copies) })
    }

    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GuestFile;

    #[test]
    fn single_files_are_copied_and_go_with_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.txt");
        std::fs::write(&source, "a").unwrap();
        let files = GuestFiles::Copies(vec![GuestFile { source, destination: "x/b.txt".into() }]);
        let staged = folder.path().join("files");
        let first = MountedFiles::make(&files, "hello", &staged).unwrap();
        let second = MountedFiles::make(&files, "hello", &staged).unwrap();
        let copy = |mounted: &MountedFiles| mounted.mounts()[0].source.join("x/b.txt");
        assert_eq!(std::fs::read_to_string(copy(&first)).unwrap(), "a");
        assert_ne!(copy(&first), copy(&second));
        drop(first);
        assert_eq!(std::fs::read_to_string(copy(&second)).unwrap(), "a");
        assert_eq!(std::fs::read_dir(&staged).unwrap().count(), 1);
    }
}
