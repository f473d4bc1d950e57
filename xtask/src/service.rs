//! One program that is kept running: its log, the address that it says, its end.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;

/// A log that is longer is put aside at the next start; one of those before is kept.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Lines of a log that are shown when its program ends by itself.
const TAIL_LINES: usize = 20;
/// What a program prints on standard output once it listens, before the URL.
const LISTENING: &str = "listening ";

/// How a program is started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where it listens: as it is wished at first, then as it turned out, so that a restart finds the same address.
    pub(crate) listen: String,
}

pub(crate) struct Service {
    spec: Spec,
    log: PathBuf,
    /// Where the lines of this run begin: the log may be that of an earlier run, or of one that still goes on.
    log_begin: u64,
    child: Option<Child>,
}

impl Service {
    pub(crate) fn new(spec: Spec, logs: &Path) -> anyhow::Result<Self> {
        let log = logs.join(format!("{}.log", spec.name));
        let mut log_begin = log.metadata().map_or(0, |log| log.len());
        if log_begin > LOG_BYTES_MAX {
            std::fs::rename(&log, log.with_extension("log.old"))
                .with_context(|| log.display().to_string())?;
            log_begin = 0;
        }
        Ok(Self { spec, log, log_begin, child: None })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.spec.name
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.spec.listen)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the program; `listening` gets its URL when it has said it, and is dropped when it has ended.
    pub(crate) fn start(&mut self, listening: Sender<String>) -> anyhow::Result<()> {
        let log = OpenOptions::new().append(true).create(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let mut command = Command::new(&self.spec.program);
        command
            .args(&self.spec.arguments)
            .arg("--listen")
            .arg(&self.spec.listen)
            .envs(self.spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            // A group of its own: Ctrl-C in the terminal reaches us, and we decide when it ends.
            .process_group(0);
        die_with_parent(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.spec.program.display()))?;
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || follow(BufReader::new(output), log, &listening));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Remembers where it really listens.
    pub(crate) fn listens_at(&mut self, url: &str) {
        self.spec.listen = url.trim_start_matches("http://").to_owned();
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    pub(crate) fn send(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // It may have ended meanwhile, which is what the signal is for.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// The last lines of its log. A program that ends at once says why in one line, which is then all there is to show.
    pub(crate) fn last_words(&self) -> String {
        let mut log = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            // A log that cannot be read says nothing.
            let _ = file.seek(SeekFrom::Start(self.log_begin)).and_then(|_| file.read_to_end(&mut log));
        }
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let said = format!("{}: ", self.spec.program.file_name().unwrap_or_default().to_string_lossy());
        if let Some(last) = lines.last().filter(|line| line.starts_with(&said)) {
            return (*last).to_owned();
        }
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// Copies standard output into the log, and passes on where the program listens.
fn follow(output: impl BufRead, mut log: File, listening: &Sender<String>) {
    for line in output.lines().map_while(Result::ok) {
        let _ = writeln!(log, "{line}");
        if let Some(url) = line.strip_prefix(LISTENING) {
            let _ = listening.send(url.trim().to_owned());
        }
    }
}

/// Makes the program end when we do, even when we are killed.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(command: &mut Command) {
    let ask = || rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(Into::into);
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_: &mut Command) {}
