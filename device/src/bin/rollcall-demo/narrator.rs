//! The headings of the story, at the pace of a reader.

use std::time::Duration;

pub(crate) struct Narrator {
    pause: Duration,
    chapters: u32,
    rests: u32,
}

impl Narrator {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, chapters: 0, rests: 0 }
    }

    /// Begins a chapter, after the one before has been read.
    pub(crate) async fn chapter(&mut self, heading: &str) {
        if self.chapters > 0 {
            self.rest().await;
        }
        self.chapters += 1;
        println!("\n{}. {heading}", self.chapters);
    }

    pub(crate) async fn rest(&mut self) {
        self.rests += 1;
        tokio::time::sleep(self.pause).await;
    }

    /// How long the story has waited for its reader so far.
    pub(crate) fn rested(&self) -> Duration {
        self.pause * self.rests
    }
}
