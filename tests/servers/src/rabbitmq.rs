//! A RabbitMQ broker, killed, paused and started again at will. It keeps what it was told over a kill.
//!
//! Several may run at once, beside one of the system: each has its own node name, ports, folders and cookie, and its
//! own `epmd`, the process that Erlang's nodes find each other by.

use crate::process::{Process, as_user, free_port, scratch_folder, until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Where Debian and RabbitMQ's own packages put the programs; those of the path switch users and are of no use.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// The management plugin and whatever else the system has enabled is not for tests.
const PLUGINS: &str = "[].\n";

/// `epmd` first, or the broker starts one of its own that outlives it.
const START: &str = r#"
epmd -port "$1" -address 127.0.0.1 &
until epmd -port "$1" -names >/dev/null 2>&1; do sleep 0.05; done
exec "$2/rabbitmq-server"
"#;

pub struct RabbitMq {
    folder: TempDir,
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
    process: Option<Process>,
}

impl RabbitMq {
    /// Starts an empty broker. It takes some seconds.
    pub fn start() -> Self {
        let folder = scratch_folder("rollcall-rmq-");
        let (port, distribution_port, epmd_port) = (free_port(), free_port(), free_port());
        let mut server = Self { folder, port, distribution_port, epmd_port, process: None };
        server.write("enabled_plugins", PLUGINS);
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\nlog.console = true\nlog.console.level = warning\n\
             log.file = false\ndisk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 512MB\n"
        );
        server.write("rabbitmq.conf", &settings);
        server.start_again();
        server
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Starts after a kill, with what it had.
    pub fn start_again(&mut self) {
        self.process = None;
        let port = self.epmd_port.to_string();
        let arguments = ["-c", START, "start", &port, PROGRAMS];
        self.process = Some(Process::start("sh", arguments, &self.environment(), &self.log()));
        until("RabbitMQ", &self.log(), || self.greets());
    }

    /// Whether it answers as a broker does.
    fn greets(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = [0];
        let asked = stream.set_read_timeout(Some(Duration::from_secs(5)));
        asked.is_ok()
            && stream.write_all(b"AMQP\0\0\x09\x01").is_ok()
            && stream.read_exact(&mut answer).is_ok()
    }

    /// SIGKILL to the broker and all its processes.
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

    /// The queues with their messages, `NAME COUNT` by line.
    pub fn queues(&self) -> String {
        self.ctl(&["--silent", "list_queues", "name", "messages"]).unwrap_or_default()
    }

    /// Forgets a queue, with what is in it.
    pub fn delete_queue(&self, name: &str) {
        self.ctl(&["delete_queue", name]).unwrap_or_else(|| panic!("{name} cannot be deleted"));
    }

    /// Runs `rabbitmqctl`; what it says when it succeeds.
    fn ctl(&self, arguments: &[&str]) -> Option<String> {
        let mut command = as_user("env");
        command.args(self.environment().map(|(name, value)| format!("{name}={value}")));
        command.arg(format!("{PROGRAMS}/rabbitmqctl")).args(arguments);
        let output = command.output().expect("rabbitmqctl is there");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).replace('\t', " "))
    }

    fn environment(&self) -> [(&'static str, String); 14] {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        [
            ("HOME", path("")),
            ("ERL_CRASH_DUMP", path("crash.dump")),
            ("ERL_EPMD_PORT", self.epmd_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", format!("rollcall{}@localhost", self.port)),
            ("RABBITMQ_DIST_PORT", self.distribution_port.to_string()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", path("none")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none".to_owned()),
        ]
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        std::fs::write(file, text).expect("an own folder can be written");
    }

    fn signal(&self, signal: &str) {
        self.process.as_ref().expect("the broker runs").signal(signal);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }
}
