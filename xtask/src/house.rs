//! The programs that run together, from start to the last one's end.
//!
//! Programs are started by the main thread alone: the kernel ties a child to the thread that made it.

use crate::health;
use crate::service::{Service, Spec};
use anyhow::{anyhow, bail};
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// A first start makes stores and compiles components.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// A program that has not ended by then is killed: Ctrl-C promises an end within 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) struct House {
    services: Vec<Service>,
    /// Set by SIGTERM and Ctrl-C.
    stop: Arc<AtomicBool>,
}

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Done,
    /// Ctrl-C or SIGTERM came first.
    Stopped,
}

impl House {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, stop.clone())?;
        }
        Ok(Self { services: Vec::new(), stop })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds a program, starts it and waits until it is ready.
    pub(crate) fn add(&mut self, spec: Spec, logs: &Path) -> anyhow::Result<Waited> {
        let name = spec.name;
        self.services.push(Service::new(spec, logs)?);
        self.start(name)
    }

    pub(crate) fn url(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.services.iter().find(|service| service.name() == name).ok_or_else(|| unknown(name))?.url())
    }

    /// Starts a program that does not run, and waits until it is ready.
    pub(crate) fn start(&mut self, name: &str) -> anyhow::Result<Waited> {
        let stop = self.stop.clone();
        let service = self.service(name)?;
        if service.is_running() {
            bail!("{name} runs already");
        }
        eprintln!("starting the {name} (log: {})", service.log().display());
        let (said, listening) = mpsc::channel();
        service.start(said)?;
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut listens = false;
        while !(listens && health::is_ready(&service.url())) {
            if stop.load(Ordering::Relaxed) {
                return Ok(Waited::Stopped);
            }
            match if listens { Err(RecvTimeoutError::Timeout) } else { listening.recv_timeout(LOOK_AGAIN) } {
                Ok(url) => {
                    service.listens_at(&url);
                    listens = true;
                }
                Err(RecvTimeoutError::Timeout) if listens => std::thread::sleep(LOOK_AGAIN),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_AGAIN),
            }
            if service.ended().is_some() {
                bail!(
                    "{}\nthe {name} did not start (log: {})",
                    service.last_words(),
                    service.log().display()
                );
            }
            if Instant::now() > deadline {
                let waited = READY_TIMEOUT.as_secs();
                bail!("the {name} is not ready after {waited} s (log: {})", service.log().display());
            }
        }
        Ok(Waited::Done)
    }

    /// Stops one program.
    pub(crate) fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let service = self.service(name)?;
        stop_all(std::slice::from_mut(service));
        Ok(())
    }

    /// An error that says its last words, when a program has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for service in &mut self.services {
            if let Some(status) = service.ended() {
                bail!(
                    "the {} ended by itself with {status} (log: {})\n{}",
                    service.name(),
                    service.log().display(),
                    service.last_words()
                );
            }
        }
        Ok(())
    }

    /// Watches over the programs until `done` says something or a signal comes.
    pub(crate) fn watch<T>(&mut self, done: &mpsc::Receiver<T>) -> anyhow::Result<Option<T>> {
        while !self.is_stopping() {
            self.check()?;
            match done.try_recv() {
                Ok(value) => return Ok(Some(value)),
                Err(TryRecvError::Empty) => std::thread::sleep(LOOK_AGAIN),
                Err(TryRecvError::Disconnected) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn service(&mut self, name: &str) -> anyhow::Result<&mut Service> {
        self.services.iter_mut().find(|service| service.name() == name).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> anyhow::Error {
    anyhow!("there is no program {name:?} here")
}

/// Everything ends with the house, however that is left.
impl Drop for House {
    fn drop(&mut self) {
        stop_all(&mut self.services);
    }
}

/// SIGTERM to all, and SIGKILL to those that take too long.
fn stop_all(services: &mut [Service]) {
    for service in &*services {
        service.send(Signal::TERM);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let mut killed = false;
    while services.iter_mut().any(|service| service.is_running() && service.ended().is_none()) {
        if !killed && Instant::now() > deadline {
            for service in services.iter().filter(|service| service.is_running()) {
                eprintln!("the {} takes too long to stop and is killed", service.name());
                service.send(Signal::KILL);
            }
            killed = true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
