//! The clients: one Node.js process with many automerge-repo clients (`tests/js/swarm.js`), and what the server spends on them.

use crate::process;
use crate::servers::Server;
use integration_tests::{js_packages, workspace};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// Edits of documents that are read by several clients each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    clients: u32,
    documents: u32,
    edits: u32,
    per_second: f64,
}

pub(crate) const LOADS: [Load; 3] = [
    Load { name: "100-clients-1-document", clients: 100, documents: 1, edits: 80, per_second: 2.0 },
    Load { name: "500-clients-20-documents", clients: 500, documents: 20, edits: 400, per_second: 10.0 },
    Load { name: "500-clients-1-document", clients: 500, documents: 1, edits: 20, per_second: 0.5 },
];

/// A delivery that has not come so long after the last edit counts as missing.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Order<'a> {
    url: &'a str,
    clients: u32,
    documents: u32,
    edits: u32,
    per_second: f64,
    timeout_ms: u128,
}

/// Milliseconds; none when nothing arrived.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Delay {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// What the swarm saw.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    deliveries: u32,
    missing: u32,
    converge_ms: Delay,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Processor time of the server for each message that reached a reader, in milliseconds.
    pub(crate) cpu_ms: f64,
    /// From an edit until its last reader has it.
    pub(crate) converge: Delay,
    /// Bytes before the first client, with all clients joined, and at most.
    pub(crate) idle: u64,
    pub(crate) joined: u64,
    pub(crate) peak: u64,
    /// Resident memory that each joined client costs, in bytes.
    pub(crate) per_client: f64,
    pub(crate) missing: u32,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0}"));
        write!(
            f,
            "{:.3} ms CPU a delivery, converged {}/{} ms (p50/p99), {:.0}/{:.0}/{:.0} MB idle/joined/peak, {} missing",
            self.cpu_ms,
            ms(self.converge.p50),
            ms(self.converge.p99),
            megabytes(self.idle),
            megabytes(self.joined),
            megabytes(self.peak),
            self.missing
        )
    }
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Lets the swarm join, edit and read, and watches the server meanwhile.
pub(crate) async fn run(load: &Load, server: &Server) -> Figures {
    let folder = workspace().join("tests/js");
    let installed = folder.clone();
    tokio::task::spawn_blocking(move || js_packages(&installed)).await.expect("installing does not panic");
    let order = Order {
        url: server.url(),
        clients: load.clients,
        documents: load.documents,
        edits: load.edits,
        per_second: load.per_second,
        timeout_ms: TIMEOUT.as_millis(),
    };
    let idle = process::resident(server.process());
    let mut child = Command::new("node")
        .arg("swarm.js")
        .arg(serde_json::to_string(&order).expect("an order is JSON"))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the benchmark needs Node.js; `cargo xtask bench sync` installs it");
    let mut input = child.stdin.take().expect("stdin is piped");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    lines.next_line().await.expect("the swarm writes text").expect("the swarm joins");
    let joined = process::resident(server.process());
    let before = process::processor_time(server.process());
    input.write_all(b"go\n").await.expect("the swarm reads");
    let seen = lines.next_line().await.expect("the swarm writes text").expect("the swarm ends its work");
    let spent = process::processor_time(server.process()) - before;
    let seen: Seen = serde_json::from_str(&seen).expect("the swarm writes what it saw");
    Figures {
        cpu_ms: spent.as_secs_f64() * 1e3 / f64::from(seen.deliveries.max(1)),
        converge: seen.converge_ms,
        idle,
        joined,
        peak: process::peak(server.process()),
        per_client: joined.saturating_sub(idle) as f64 / f64::from(load.clients),
        missing: seen.missing,
    }
}
