//! A server's process: as a user without rights, gone with the test, killed and paused at will.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a server to do what it was told, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Who runs servers when the tests run as root: the system has this user always.
const USER: &str = "nobody";

/// Runs the server in a session of its own, and ends all of that session when the test process is gone, however it
/// ended: then its end of the pipe closes.
const KEEPER: &str = r#"
log=$1; shift
setsid "$@" >>"$log" 2>&1 </dev/null & server=$!
echo $server
cat >/dev/null
kill -s CONT -- -$server 2>/dev/null
kill -s KILL -- -$server 2>/dev/null
wait $server
"#;

pub(crate) struct Process {
    keeper: Child,
    /// Of the server's session and its processes.
    group: String,
}

impl Process {
    /// Starts a program whose both outputs go to `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, String)],
        log: &Path,
    ) -> Self {
        let mut command = as_user("sh");
        // `env` after the change of user, which sets HOME anew.
        command.args(["-c", KEEPER, "keeper"]).arg(log).arg("env");
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program).args(arguments);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut keeper = spawned.expect("a shell can be started");
        let mut said = std::io::BufReader::new(keeper.stdout.take().expect("stdout is piped"));
        let mut group = String::new();
        std::io::BufRead::read_line(&mut said, &mut group).expect("the shell says the server's id");
        Self { keeper, group: group.trim().to_owned() }
    }

    /// To all processes of the server.
    pub(crate) fn signal(&self, signal: &str) {
        let group = format!("-{}", self.group);
        let sent = Command::new("kill").args(["-s", signal, "--", &group]).output();
        let sent = sent.expect("kill can be started");
        let said = String::from_utf8_lossy(&sent.stderr).into_owned();
        assert!(sent.status.success() || said.contains("No such process"), "{said}");
    }
}

impl Drop for Process {
    /// No last word, no flush.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A command that runs as a user without rights when the tests run as root.
pub(crate) fn as_user(program: &str) -> Command {
    let mut command;
    if is_root() {
        command = Command::new("runuser");
        command.args(["-u", USER, "--", program]);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/");
    command
}

/// A folder that the servers' user may write.
pub(crate) fn scratch_folder(prefix: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp");
    let folder = folder.expect("a temporary folder can be made");
    if is_root() {
        let id = |flag| {
            let output = Command::new("id").args([flag, USER]).output().expect("id can be started");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.trim().parse::<u32>().expect("every system has the user")
        };
        chown(folder.path(), Some(id("-u")), Some(id("-g"))).expect("root may give a folder away");
    }
    folder
}

/// A port of 127.0.0.1 that nobody has.
pub(crate) fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.expect("a port is free").port()
}

/// Waits until something holds.
pub(crate) fn until(what: &str, log: &Path, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        let log = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}:\n{last}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("every process is in /proc").uid() == 0
}
