//! Short messages between the processes on one store: to all that listen now, and kept by nobody.

use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

/// Messages that wait to be sent, or to be read. Who has no room for one waits, or loses it.
const WAITING: usize = 256;

/// One end of the line.
pub(crate) struct Notices {
    pub(crate) say: mpsc::Sender<String>,
    pub(crate) heard: mpsc::Receiver<Notice>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// From now on this process hears the others; what they said before it has missed.
    Connected,
    Said(String),
}

/// The store's end.
pub(super) struct Line {
    pub(super) said: mpsc::Receiver<String>,
    pub(super) hear: mpsc::Sender<Notice>,
}

/// The end that the store gives away, once.
pub(super) struct Offered(Mutex<Option<Notices>>);

impl Offered {
    pub(super) fn take(&self) -> Option<Notices> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) fn line() -> (Line, Offered) {
    let (say, said) = mpsc::channel(WAITING);
    let (hear, heard) = mpsc::channel(WAITING);
    (Line { said, hear }, Offered(Mutex::new(Some(Notices { say, heard }))))
}
