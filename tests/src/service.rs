//! A program that serves HTTP from a folder of its own: started, stopped, killed and started again at the same address.

use crate::program::Program;
use std::path::{Path, PathBuf};

pub struct Service {
    pub program: Program,
    folder: PathBuf,
    url: String,
}

impl Service {
    /// Starts `program`, whose data is in `folder`.
    pub(crate) async fn start(program: Program, folder: &Path) -> Self {
        let mut service = Self { program, folder: folder.to_owned(), url: String::new() };
        service.start_again().await;
        service
    }

    /// Starts after a stop or a kill, at the same address.
    pub async fn start_again(&mut self) {
        self.program.start().await;
        self.url = self.program.says("listening ").await;
        let address = self.address().to_owned();
        self.program.set_flag("--listen", &address);
    }

    pub async fn stop(&mut self) {
        let status = self.program.stop().await;
        assert!(status.success(), "{} stopped with {status}", self.program.name());
    }

    /// SIGKILL: what is not on its disk is gone.
    pub async fn kill9(&mut self) {
        self.program.kill9().await;
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Where its data is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
