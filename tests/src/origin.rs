//! A real origin in a process of its own.

use crate::artefacts::program;
use crate::program::Program;
use crate::{EDGE_SECRET, template};
use std::path::{Path, PathBuf};

pub struct Origin {
    pub program: Program,
    folder: PathBuf,
    url: String,
}

impl Origin {
    /// Starts an origin with the two sample institutes, whose store is in `folder`.
    pub async fn start(folder: &Path) -> Self {
        template::copy_seeded_origin(folder);
        let arguments = [
            "serve".into(),
            "--data".into(),
            folder.as_os_str().to_owned(),
            "--listen".into(),
            "127.0.0.1:0".into(),
        ];
        let program = Program::new(&program("rollcall-origin"), arguments)
            .with_environment("ROLLCALL_ORIGIN_EDGE_SECRET", EDGE_SECRET);
        let mut origin = Self { program, folder: folder.to_owned(), url: String::new() };
        origin.start_again().await;
        origin
    }

    /// Starts an origin with the two sample institutes on a Postgres database, which other origins may share.
    pub async fn start_on_postgres(folder: &Path, url: &str) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--seed"];
        let program = Program::new(&program("rollcall-origin"), arguments)
            .in_folder(folder)
            .with_environment("ROLLCALL_ORIGIN_STORE__URL", url)
            .with_environment("ROLLCALL_ORIGIN_EDGE_SECRET", EDGE_SECRET);
        let mut origin = Self { program, folder: folder.to_owned(), url: String::new() };
        origin.start_again().await;
        origin
    }

    /// Starts after a stop, at the same address.
    pub async fn start_again(&mut self) {
        self.program.start().await;
        self.url = self.program.says("listening ").await;
        let address = self.address().to_owned();
        self.program.set_flag("--listen", &address);
    }

    pub async fn stop(&mut self) {
        let status = self.program.stop().await;
        assert!(status.success(), "the origin stopped with {status}");
    }

    pub async fn kill9(&mut self) {
        self.program.kill9().await;
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Where its store is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
