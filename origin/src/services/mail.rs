//! Mail to people: written to a folder in development, handed to a program such as sendmail in production.

mod command;
mod folder;
mod message;
mod settings;

pub(crate) use settings::{MailConfig, MailSettings};

use crate::clock::unix_ms;
use command::CommandMailer;
use folder::FolderMailer;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    #[error("mail to {0:?} is not possible: the address is not plain")]
    Address(String),
    #[error("mail: {0}")]
    Io(#[from] std::io::Error),
    #[error("the mail program ended with {0}")]
    Failed(std::process::ExitStatus),
    #[error("the mail program did not end within {0:?}")]
    Overdue(std::time::Duration),
    #[error("a mail's worker is gone")]
    Panicked,
}

/// A message to one person.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: &'static str,
    pub(crate) text: String,
}

/// A way for messages (RFC 5322) to leave. Blocks.
trait Mailer: Send + Sync {
    fn deliver(&self, message: &[u8]) -> Result<(), MailError>;
}

/// The way that is configured, with what all mail has in common.
pub(crate) struct Post {
    mailer: Arc<dyn Mailer>,
    from: String,
    reset_url: String,
}

impl Post {
    /// Makes the folder when there is none.
    pub(crate) fn open(config: MailConfig) -> Result<Self, MailError> {
        let mailer: Arc<dyn Mailer> = match config.way {
            settings::Way::Folder(folder) => Arc::new(FolderMailer::open(folder)?),
            settings::Way::Command(command) => Arc::new(CommandMailer { command }),
        };
        Ok(Self { mailer, from: config.from, reset_url: config.reset_url })
    }

    /// Where a person sets a password with a token, which needs no percent-encoding.
    pub(crate) fn reset_link(&self, token: &str) -> String {
        self.reset_url.replace(settings::TOKEN, token)
    }

    /// Sends a message. When this returns, it is in the folder, or the program has taken it.
    pub(crate) async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let message = message::encode(&mail, &self.from, unix_ms())?;
        let mailer = self.mailer.clone();
        let sent = tokio::task::spawn_blocking(move || mailer.deliver(&message));
        sent.await.unwrap_or(Err(MailError::Panicked))
    }
}
