//! The lock on the data folder: one process at a time.

use crate::store::error::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

/// Held while the store is open. The operating system drops it with the process, however that ends.
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks `folder`, or says which process has it.
    pub(super) fn acquire(folder: &Path) -> Result<Self, OpenError> {
        let fault = |source| OpenError::Folder { folder: folder.to_owned(), source };
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Where the lock also stops readers, the holder stays unnamed.
                let named = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if named { holder.trim().to_owned() } else { "another process".to_owned() };
                return Err(OpenError::Locked { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(fault(source)),
        }
        file.set_len(0).map_err(fault)?;
        file.rewind().map_err(fault)?;
        write!(file, "process {}", std::process::id()).map_err(fault)?;
        Ok(Self { _file: file })
    }
}
