//! The servers that are measured, each fresh with an empty store on disk.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use integration_tests::{House, Program, workspace};
use samod::storage::TokioFilesystemStorage;
use samod::{AcceptorHandle, Repo, Transport};
use std::path::Path;
use tempfile::TempDir;

/// First argument with which this program is a samod server instead; the second is the folder of its store.
pub(crate) const SAMOD_SERVER: &str = "samod-server";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rollcall,
    JavaScript,
    Samod,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Rollcall, Kind::JavaScript, Kind::Samod];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Rollcall => "rollcall-edge",
            Kind::JavaScript => "automerge-repo-sync-server",
            Kind::Samod => "samod on axum",
        }
    }
}

pub(crate) struct Server {
    url: String,
    process: u32,
    _running: Running,
}

#[expect(dead_code, reason = "held so that what is measured runs until it is dropped")]
enum Running {
    House(Box<House>),
    Program(Box<Program>, TempDir),
}

impl Server {
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Rollcall => Self::rollcall().await,
            Kind::JavaScript => Self::javascript().await,
            Kind::Samod => Self::samod().await,
        }
    }

    /// An edge linked to an origin, as in production: it also pushes every change on, which its peers do not.
    async fn rollcall() -> Self {
        let house = House::start().await;
        let teacher = house.sign_in("teacher@northside.example").await;
        Self {
            url: format!("ws://{}/sync?access_token={}", house.edge.address(), teacher.token),
            process: house.edge.program.id(),
            _running: Running::House(Box::new(house)),
        }
    }

    async fn javascript() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let package = workspace().join("tests/js/sync-server");
        let port = free_port();
        let mut program = Program::new(
            Path::new("node"),
            [package.join("node_modules/@automerge/automerge-repo-sync-server/src/index.js")],
        )
        .with_environment("PORT", &port.to_string())
        .with_environment("DATA_DIR", &folder.path().to_string_lossy());
        program.start().await;
        program.says("Listening on port").await;
        Self {
            url: format!("ws://127.0.0.1:{port}"),
            process: program.id(),
            _running: Running::Program(Box::new(program), folder),
        }
    }

    async fn samod() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let this = std::env::current_exe().expect("the path of a running program is known");
        let mut program = Program::new(&this, [SAMOD_SERVER.into(), folder.path().as_os_str().to_owned()]);
        program.start().await;
        let address = program.says("listening ").await;
        Self {
            url: format!("ws://{address}"),
            process: program.id(),
            _running: Running::Program(Box::new(program), folder),
        }
    }

    /// The WebSocket to sync with.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&self) -> u32 {
        self.process
    }
}

/// For a server that takes its port from outside and does not tell which one it got.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a listener has an address").port()
}

/// What samod's documentation shows for a server, with its store on disk.
pub(crate) async fn serve_samod() {
    let folder = std::env::args().nth(2).expect("the folder of the store is the second argument");
    let repo = Repo::build_tokio().with_storage(TokioFilesystemStorage::new(folder)).load().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    let url = format!("ws://{address}").parse().expect("an address makes a URL");
    let acceptor = repo.make_acceptor(url).expect("the repo runs");
    let app = axum::Router::new().fallback(accept).with_state(acceptor);
    println!("listening {address}");
    axum::serve(listener, app).await.expect("the server runs");
}

async fn accept(State(acceptor): State<AcceptorHandle>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |socket| {
        acceptor.accept(Transport::from_axum(socket)).expect("the repo runs");
    })
}
