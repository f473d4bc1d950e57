//! An edge of its own for tests of HTTP itself: no origin, and only the components that a test asks for.

use crate::SOON;
use crate::artefacts::program;
use crate::program::Program;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An application without a component: the host's own routes are all that answers.
const NO_COMPONENTS: &str = "spin_manifest_version = 2\n\n[application]\nname = \"plain\"\n";

pub struct PlainEdge {
    pub program: Program,
    folder: TempDir,
    url: String,
}

impl PlainEdge {
    /// Starts an edge with these lines as its `rollcall-edge.toml`.
    pub async fn start(settings: &str) -> Self {
        Self::start_with_files(settings, &[]).await
    }

    /// Starts an edge with these files beside its settings, its manifest perhaps among them.
    pub async fn start_with_files(settings: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut edge = Self { program: Self::program(folder.path(), "up"), folder, url: String::new() };
        edge.write("rollcall-edge.toml", settings);
        edge.write("spin.toml", NO_COMPONENTS);
        for (name, content) in files {
            edge.write(name, content);
        }
        edge.program.start().await;
        edge.url = edge.program.says("listening ").await;
        edge
    }

    /// The program in a folder that holds its files, not started.
    pub fn program(folder: &Path, command: &str) -> Program {
        Program::new(&program("rollcall-edge"), [command, "--listen", "127.0.0.1:0", "--data", "data"])
            .in_folder(folder)
            .with_environment("NO_COLOR", "1")
    }

    /// Replaces a file in the edge's folder at once, as a rename does.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.folder.path().join(name), self.folder.path().join(format!("{name}.new")));
        std::fs::write(&new, content).expect("a temporary folder can be written");
        std::fs::rename(&new, &path).expect("a file can be renamed in its folder");
        path
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> &str {
        self.url.split_once("://").expect("a URL has a scheme").1
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("the edge listens")
    }

    /// Sends bytes on a connection of their own, and gives all that comes back until the edge closes it.
    pub async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // The edge may have heard enough before all is sent.
        let _ = stream.write_all(bytes).await;
        read_to_close(&mut stream).await
    }
}

/// What comes until the other end closes; a reset ends it too.
pub async fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
        }
    };
    let closed = tokio::time::timeout(SOON + Duration::from_secs(10), read).await;
    closed.unwrap_or_else(|_| panic!("the edge holds the connection: {}", String::from_utf8_lossy(&answer)));
    answer
}
