//! A Redis server, killed and started again at will. It keeps nothing on disk.

use crate::postgres::command_as_server_user;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a server to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the server when the test process is gone, however it ended: then its end of the pipe closes.
const KEEPER: &str = r#"
redis-server --bind 127.0.0.1 --port "$1" --save '' --appendonly no >/dev/null 2>&1 </dev/null & server=$!
cat >/dev/null
kill -KILL $server 2>/dev/null
wait $server
"#;

pub struct Redis {
    port: u16,
    keeper: Option<Child>,
}

impl Redis {
    /// Starts an empty server.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let mut server = Self { port: port.expect("a port is free").port(), keeper: None };
        server.start_again();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts after a kill, empty, at the same address.
    pub fn start_again(&mut self) {
        let mut command = command_as_server_user("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(self.port.to_string());
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.keeper = Some(keeper.expect("a shell can be started"));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not start: `cargo xtask test` installs it");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL: no last word.
    pub fn kill9(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().expect("a child can be waited for");
        }
    }

    /// Runs one command, and gives what the server says.
    pub fn command(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output();
        let output = output.expect("redis-cli can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
    }
}
