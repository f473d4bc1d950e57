//! A cluster of Postgres servers that Patroni runs, with etcd as its memory: nodes are killed and the leader changed at will.

use crate::postgres::binaries;
use crate::process::{Process, as_user, free_port, scratch_folder, until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A node that does not answer within this has no answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Ends node and server when the test process is gone, however it ended: then its end of the pipe closes. Patroni puts the server
/// into a session of its own.
const KEEPER: &str = r#"
patroni "$1/patroni.yml" >>"$1/patroni.log" 2>&1 </dev/null & node=$!
cat >/dev/null
kill -KILL $node 2>/dev/null
server=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -KILL "$server" 2>/dev/null
wait $node
"#;

/// As careful as Patroni lets one be with time: a leader that is gone is replaced after `ttl` seconds.
const CLUSTER: &str = "
    ttl: 10
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql:
      parameters: {fsync: off, full_page_writes: off, shared_buffers: 32MB, max_connections: 120, timezone: UTC, wal_keep_size: 512MB}
";

pub struct Patroni {
    nodes: Vec<Node>,
    etcd: u16,
    folder: TempDir,
    _etcd: Process,
}

struct Node {
    rest: u16,
    server: u16,
    keeper: Option<Child>,
}

impl Patroni {
    /// Starts a cluster of so many nodes, of which one is the leader and one its synchronous standby.
    pub fn start(nodes: usize) -> Self {
        let folder = scratch_folder("rollcall-patroni-");
        let (etcd, peers) = (free_port(), free_port());
        let (clients, peers) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peers}"));
        let data = folder.path().join("etcd").display().to_string();
        let arguments = [
            ["--data-dir", &data],
            ["--listen-client-urls", &clients],
            ["--advertise-client-urls", &clients],
            ["--listen-peer-urls", &peers],
            ["--initial-advertise-peer-urls", &peers],
            ["--initial-cluster", &format!("default={peers}")],
        ];
        let log = folder.path().join("etcd.log");
        let process = Process::start("etcd", arguments.concat(), &[], &log);
        until("etcd", &log, || TcpStream::connect(("127.0.0.1", etcd)).is_ok());
        let mut cluster = Self { nodes: Vec::new(), etcd, folder, _etcd: process };
        // The first one makes the database, the others copy it.
        (0..nodes).for_each(|_| cluster.add_node());
        cluster.wait_until_whole();
        cluster
    }

    /// Adds a node that the others did not know of.
    pub fn add_node(&mut self) {
        let at = self.nodes.len();
        self.nodes.push(Node { rest: free_port(), server: free_port(), keeper: None });
        let folder = self.node_folder(at);
        let made = as_user("mkdir").arg(&folder).status().expect("mkdir can be started");
        assert!(made.success());
        std::fs::write(folder.join("patroni.yml"), self.settings(at)).expect("root and the owner may write");
        self.start_again(at);
        until("a node", &folder.join("patroni.log"), || {
            self.ask(at, "GET", "/health", "").is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
        });
    }

    fn settings(&self, at: usize) -> String {
        let Node { rest, server, .. } = self.nodes[at];
        let folder = self.node_folder(at).display().to_string();
        let binaries = binaries().display().to_string();
        format!(
            "scope: rollcall\nname: node{at}\n\
             restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}\n\
             etcd3: {{host: '127.0.0.1:{}'}}\n\
             bootstrap:\n  dcs:{CLUSTER}\n  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}]\n\
             postgresql:\n  listen: '127.0.0.1:{server}'\n  connect_address: '127.0.0.1:{server}'\n  \
             data_dir: '{folder}/data'\n  bin_dir: '{binaries}'\n  pgpass: '{folder}/pgpass'\n  \
             parameters: {{unix_socket_directories: '{folder}'}}\n  \
             pg_hba: ['local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']\n  \
             authentication: {{superuser: {{username: postgres}}, replication: {{username: replicator}}}}\n",
            self.etcd
        )
    }

    fn node_folder(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("node{at}"))
    }

    fn log(&self, at: usize) -> PathBuf {
        self.node_folder(at).join("patroni.log")
    }

    /// Starts a node after a kill: it follows whoever is the leader now.
    pub fn start_again(&mut self, at: usize) {
        let mut command = as_user("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(self.node_folder(at));
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.nodes[at].keeper = Some(keeper.expect("a shell can be started"));
    }

    /// SIGKILL to Patroni and the server of a node.
    pub fn kill9(&mut self, at: usize) {
        self.nodes[at].kill9();
    }

    /// The address of a node's REST API.
    pub fn rest_url(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.nodes[at].rest)
    }

    /// The address of a database on a node's server.
    pub fn url(&self, at: usize, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.nodes[at].server)
    }

    /// Runs SQL on a node's server and gives its rows as text, `|` between columns.
    pub fn sql(&self, at: usize, database: &str, sql: &str) -> String {
        let mut command = std::process::Command::new(binaries().join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(at, database)]);
        let output = command.output().expect("psql can be started");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The node that leads, as some node says.
    pub fn leader(&self) -> Option<usize> {
        let answers = (0..self.nodes.len()).filter(|at| self.nodes[*at].keeper.is_some());
        let leads =
            |at: &usize| self.ask(*at, "GET", "/leader", "").is_some_and(|it| it.starts_with("HTTP/1.0 200"));
        answers.into_iter().find(leads)
    }

    /// Waits until all nodes that were not killed are in the cluster, and one of them is the synchronous standby.
    pub fn wait_until_whole(&self) {
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].keeper.is_some()).collect();
        let log = self.log(alive[0]);
        until("a leader with a synchronous standby", &log, || {
            let Some(leader) = self.leader() else { return false };
            let sync = |at: &usize| {
                self.ask(*at, "GET", "/sync", "").is_some_and(|it| it.starts_with("HTTP/1.0 200"))
            };
            let replicas = alive.iter().filter(|at| **at != leader);
            let streams = format!("SELECT count(*) >= {} FROM pg_stat_replication", alive.len() - 1);
            replicas.clone().any(sync) && self.sql(leader, "postgres", &streams) == "t"
        });
    }

    /// Makes another node the leader, in order.
    pub fn switch_over(&self, from: usize, to: usize) {
        let body = format!(r#"{{"leader": "node{from}", "candidate": "node{to}"}}"#);
        let answer = self.ask(from, "POST", "/switchover", &body).unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        until("the new leader", &self.log(to), || self.leader() == Some(to));
    }

    /// A node's whole answer, if it gives one.
    fn ask(&self, at: usize, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[at].rest)).ok()?;
        stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        let request = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Node {
    fn kill9(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill9();
    }
}
