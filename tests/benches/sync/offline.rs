//! The writing of a paper, 259,778 keystrokes, brought by one device that was offline all the while: each is a change of its own.

use crate::light_client::{LightClient, Replica};
use crate::process;
use crate::servers::Server;
use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, Automerge, ObjType, ROOT, ReadDoc as _};
use integration_tests::{Writing, shared_data};
use std::fmt;
use std::time::{Duration, Instant};
use sync_protocol::document_id::DocumentId;
use uuid::Uuid;

pub(crate) const NAME: &str = "offline-paper";

/// A server that is not in step then never will be.
const LONGEST: Duration = Duration::from_secs(300);

/// The device's document.
pub(crate) struct Paper {
    saved: Vec<u8>,
    changes: usize,
    /// What loading the saved document takes this process.
    native: Duration,
}

impl Paper {
    /// Types the recorded paper where it is at hand, else one of as many letters.
    pub(crate) fn write() -> Self {
        let writing = match shared_data("editing-traces/automerge-paper.json.gz") {
            Some(file) => Writing::read(&file),
            None => Writing::of_letters(259_778),
        };
        let mut document = AutoCommit::new();
        let text = document.put_object(ROOT, "text", ObjType::Text).expect("a map takes a text");
        for typed in &writing.keystrokes {
            for patch in &typed.patches {
                document
                    .splice_text(&text, patch.0, patch.1 as isize, &patch.2)
                    .expect("a place in the text");
            }
            document.commit();
        }
        let saved = document.save();
        let began = Instant::now();
        let loaded = Automerge::load(&saved).expect("a saved document can be loaded");
        let native = began.elapsed();
        Self { changes: loaded.stats().num_changes as usize, saved, native }
    }
}

pub(crate) struct Figures {
    paper: usize,
    changes: usize,
    native: Duration,
    took: Duration,
    processor: Duration,
    sent: u64,
    received: u64,
    peak: u64,
}

/// Brings the paper to a server that has nothing of it.
pub(crate) async fn run(paper: &Paper, server: &Server) -> Figures {
    let document = AutoCommit::load(&paper.saved).expect("a saved document can be loaded");
    let mut replica = Replica::new(DocumentId::from_bytes(Uuid::new_v4().into_bytes()), document);
    let mut client = LightClient::join(server.url(), "device-offline".to_owned()).await;
    let before = process::processor_time(server.process());
    let began = Instant::now();
    let in_step = async {
        client.offer(&mut replica, false).await;
        while !replica.is_known() {
            let heard = client.hear().await;
            replica.take(heard);
            client.offer(&mut replica, false).await;
        }
    };
    tokio::time::timeout(LONGEST, in_step).await.expect("the server takes the paper");
    Figures {
        paper: paper.saved.len(),
        changes: paper.changes,
        native: paper.native,
        took: began.elapsed(),
        processor: process::processor_time(server.process()) - before,
        sent: client.sent,
        received: client.received,
        peak: process::peak(server.process()),
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} changes, {:.0} KB saved, loaded natively in {:.2} s: in step after {:.2} s, {:.2} s of the server's processor; \
             {:.0} KB sent, {:.1} KB received, {:.2} of the saved document's size; peak {:.0} MB",
            self.changes,
            self.paper as f64 / 1e3,
            self.native.as_secs_f64(),
            self.took.as_secs_f64(),
            self.processor.as_secs_f64(),
            self.sent as f64 / 1e3,
            self.received as f64 / 1e3,
            (self.sent + self.received) as f64 / self.paper as f64,
            self.peak as f64 / 1e6,
        )
    }
}
