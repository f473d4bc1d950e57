//! A real edge in a process of its own.

use crate::artefacts::{program, workspace};
use crate::program::Program;
use crate::{EDGE_SECRET, template};
use std::path::{Path, PathBuf};

pub struct Edge {
    pub program: Program,
    folder: PathBuf,
    url: String,
}

impl Edge {
    /// Starts an edge that reaches its origin at `origin`, with its data in `folder`.
    pub async fn start(folder: &Path, origin: &str, id: &str) -> Self {
        template::copy_compiled_edge(folder);
        let mut edge = Self {
            program: Self::program(folder, origin, id),
            folder: folder.to_owned(),
            url: String::new(),
        };
        edge.start_again().await;
        edge
    }

    /// The program, not started.
    pub fn program(folder: &Path, origin: &str, id: &str) -> Program {
        let app = workspace().join("spin.toml");
        let mut program = Program::new(&program("rollcall-edge"), ["up"]);
        for (flag, value) in [
            ("--app", app.to_str().expect("the workspace's path is text")),
            ("--listen", "127.0.0.1:0"),
            ("--data", folder.to_str().expect("a temporary path is text")),
            ("--origin", origin),
            ("--edge-id", id),
            ("--edge-secret", EDGE_SECRET),
        ] {
            program.set_flag(flag, value);
        }
        program
    }

    /// Starts after a stop or a kill, at the same address.
    pub async fn start_again(&mut self) {
        self.program.start().await;
        self.url = self.program.says("listening ").await;
        let address = self.url.trim_start_matches("http://").to_owned();
        self.program.set_flag("--listen", &address);
    }

    pub async fn stop(&mut self) {
        let status = self.program.stop().await;
        assert!(status.success(), "the edge stopped with {status}");
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
