//! Mail for development: each message is a file.

use super::{MailError, Mailer};
use std::path::PathBuf;
use uuid::Uuid;

pub(super) struct FolderMailer {
    folder: PathBuf,
}

impl FolderMailer {
    pub(super) fn open(folder: PathBuf) -> Result<Self, MailError> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }
}

impl Mailer for FolderMailer {
    /// Names are in the order of sending. A reader sees whole files only.
    fn deliver(&self, message: &[u8]) -> Result<(), MailError> {
        let name = Uuid::now_v7();
        let unfinished = self.folder.join(format!(".{name}"));
        std::fs::write(&unfinished, message)?;
        Ok(std::fs::rename(&unfinished, self.folder.join(format!("{name}.eml")))?)
    }
}
