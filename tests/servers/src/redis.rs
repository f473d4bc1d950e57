//! A Redis server, killed, paused and started again at will, with or without what it had.

use crate::process::{Process, free_port, scratch_folder, until};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A server that is paused gives no answer; nobody waits longer to find out.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub struct Redis {
    folder: TempDir,
    port: u16,
    /// Whether it is a cluster of one.
    cluster: bool,
    process: Option<Process>,
}

/// A process that says which server is the master of the name `main`.
pub struct Sentinel {
    port: u16,
    _folder: TempDir,
    _process: Process,
}

impl Redis {
    /// Starts an empty server.
    pub fn start() -> Self {
        Self::start_as(false)
    }

    /// Starts an empty cluster of one node that has all slots.
    pub fn start_cluster() -> Self {
        let server = Self::start_as(true);
        assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK");
        until("the cluster", &server.log(), || {
            server.try_bulk(&["CLUSTER", "INFO"]).is_some_and(|info| info.contains("cluster_state:ok"))
        });
        server
    }

    fn start_as(cluster: bool) -> Self {
        let folder = scratch_folder("rollcall-redis-");
        let mut server = Self { folder, port: free_port(), cluster, process: None };
        server.start_again();
        server
    }

    /// Starts a sentinel that watches this server.
    pub fn start_sentinel(&self) -> Sentinel {
        let folder = scratch_folder("rollcall-sentinel-");
        let port = free_port();
        let settings =
            format!("port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n", self.port);
        let (file, log) = (folder.path().join("sentinel.conf"), folder.path().join("server.log"));
        std::fs::write(&file, settings).expect("an own folder can be written");
        // It writes down there what it learns.
        let anybody = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&file, anybody).expect("the own file's mode can be changed");
        let process = Process::start("redis-server", [file.as_os_str(), "--sentinel".as_ref()], &[], &log);
        until("the sentinel", &log, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Sentinel { port, _folder: folder, _process: process }
    }

    pub fn url(&self) -> String {
        let scheme = if self.cluster { "redis-cluster" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts after a kill, at the same address, with what was saved: nothing, unless somebody asked for it.
    pub fn start_again(&mut self) {
        self.process = None;
        let folder = self.folder.path().display().to_string();
        let port = self.port.to_string();
        let arguments = ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder, "--save", ""];
        let cluster = if self.cluster { "yes" } else { "no" };
        let how = ["--appendonly", "no", "--daemonize", "no", "--cluster-enabled", cluster];
        let how = how.into_iter().chain(["--cluster-announce-ip", "127.0.0.1"]);
        let arguments = arguments.into_iter().chain(how);
        self.process = Some(Process::start("redis-server", arguments, &[], &self.log()));
        until("Redis", &self.log(), || self.try_command(&["PING"]).is_some());
    }

    /// SIGKILL: what was not saved is gone.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Saves all that it has, so that the next start brings it back.
    pub fn save(&self) {
        assert_eq!(self.command(&["SAVE"]), "+OK");
    }

    /// The first line of the answer to a command.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("no answer to {words:?}"))
    }

    /// How many keys there are.
    pub fn keys(&self) -> u64 {
        self.command(&["DBSIZE"]).trim_start_matches(':').parse().expect("DBSIZE gives a number")
    }

    /// How often it was asked for a key.
    pub fn reads(&self) -> u64 {
        let stats = self.try_bulk(&["INFO", "stats"]).expect("Redis answers");
        let number = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().parse::<u64>().ok()).expect("INFO has the number")
        };
        number("keyspace_hits:") + number("keyspace_misses:")
    }

    fn signal(&self, signal: &str) {
        self.process.as_ref().expect("the server runs").signal(signal);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut stream = self.send(words)?;
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }

    fn try_bulk(&self, words: &[&str]) -> Option<String> {
        let mut stream = self.send(words)?;
        let mut length = String::new();
        stream.read_line(&mut length).ok()?;
        let length: usize = length.trim_end().strip_prefix('$')?.parse().ok()?;
        let mut text = vec![0; length];
        stream.read_exact(&mut text).ok()?;
        String::from_utf8(text).ok()
    }

    fn send(&self, words: &[&str]) -> Option<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(command.as_bytes()).ok()?;
        Some(BufReader::new(stream))
    }
}

impl Sentinel {
    /// The address of the master that it watches.
    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}/main", self.port)
    }
}
