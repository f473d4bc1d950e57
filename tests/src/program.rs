//! A process of a test: its first words, its log, its end.

use crate::SOON;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Compiling components for the first time takes most of it.
const START: Duration = Duration::from_secs(120);
/// Lines of a log that are shown when a test fails.
const SHOWN_LINES: usize = 60;

/// A program that is started, killed and started again with the same arguments.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
    running: Option<Running>,
    /// Both outputs of all runs.
    log: Arc<Mutex<Vec<String>>>,
}

struct Running {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

impl Program {
    pub fn new<A: Into<OsString>>(path: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        Self {
            path: path.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            folder: None,
            running: None,
            log: Arc::default(),
        }
    }

    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Replaces the value of a flag, or adds the flag.
    pub fn set_flag(&mut self, flag: &str, value: &str) {
        match self.arguments.iter().position(|argument| argument == flag) {
            Some(at) => self.arguments[at + 1] = value.into(),
            None => self.arguments.extend([flag.into(), value.into()]),
        }
    }

    pub async fn start(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.path.display());
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.path.display()));
        let lines = watch::Sender::new(Vec::new());
        let heard = lines.subscribe();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        tokio::spawn(follow(out.expect("stdout is piped"), Arc::clone(&self.log), Some(lines)));
        tokio::spawn(follow(err.expect("stderr is piped"), Arc::clone(&self.log), None));
        self.running = Some(Running { child, lines: heard });
    }

    /// Waits for a line of standard output that begins with `beginning` and gives the rest of it.
    pub async fn says(&self, beginning: &str) -> String {
        let mut heard = self.running.as_ref().expect("the program runs").lines.clone();
        let rest = |lines: &Vec<String>| {
            lines.iter().find_map(|line| line.strip_prefix(beginning)).map(|rest| rest.trim().to_owned())
        };
        let said = tokio::time::timeout(START, heard.wait_for(|lines| rest(lines).is_some())).await;
        match said {
            Ok(Ok(lines)) => rest(&lines).expect("the line was waited for"),
            Ok(Err(_)) => panic!("{} ended before it said {beginning:?}:\n{}", self.name(), self.log()),
            Err(_) => panic!("waited {START:?} for {} to say {beginning:?}:\n{}", self.name(), self.log()),
        }
    }

    /// Waits until the program ends by itself.
    pub async fn ends(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the program runs");
        let ended = tokio::time::timeout(START, running.child.wait()).await;
        let status =
            ended.unwrap_or_else(|_| panic!("waited {START:?} for {} to end:\n{}", self.name(), self.log()));
        // The last lines are read after the process is gone.
        let _ = tokio::time::timeout(SOON, async { while running.lines.changed().await.is_ok() {} }).await;
        status.expect("a child can be waited for")
    }

    /// SIGKILL: no last word, no flush.
    pub async fn kill9(&mut self) {
        let mut running = self.running.take().expect("the program runs");
        running.child.kill().await.expect("a child can be killed");
    }

    /// The running process's id.
    pub fn id(&self) -> u32 {
        self.running.as_ref().and_then(|running| running.child.id()).expect("the program runs")
    }

    pub fn send(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a running child has an id"), signal).expect("a child can be signalled");
    }

    /// SIGTERM, and the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.send(Signal::TERM);
        self.ends().await
    }

    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What the program has said on both outputs.
    pub fn log(&self) -> String {
        self.log.lock().expect("no writer panics").join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log.lock().expect("no writer panics");
            let from = log.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- {} said last:\n{}", self.name(), log[from..].join("\n"));
        }
    }
}

async fn follow(
    output: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    said: Option<watch::Sender<Vec<String>>>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(said) = &said {
            said.send_modify(|lines| lines.push(line.clone()));
        }
        log.lock().expect("no writer panics").push(line);
    }
}
