//! The layer in Redis: asked for a few milliseconds at most, and not at all while it does not answer.
//!
//! One task keeps the connection. Whoever finds it broken or slow takes it away for all others; the task connects again,
//! after pauses that grow, and gives it back when Redis has answered. So a Redis that hangs costs those who wait for it
//! at that moment one time limit, and everybody else nothing.

use super::Entry;
use super::config::RemoteConfig;
use super::redis_link::RedisLink;
use crate::clock::unix_ms;
use redis::Value;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Longest wait for a connection and its first answer. Nobody waits for it but the task that keeps it.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Shortest and longest pause between two tries to connect.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Entries that may wait to be written; more are not written: they can be computed again.
const WRITES: usize = 256;

const FAILURES: &str = "rollcall_origin_cache_redis_failures_total";
const DROPPED: &str = "rollcall_origin_cache_redis_writes_dropped_total";
const CONNECTED: &str = "rollcall_origin_cache_redis_connected";

pub(super) struct Remote {
    config: RemoteConfig,
    /// Absent while Redis is not asked; the number tells connections apart.
    link: RwLock<Option<(u64, RedisLink)>>,
    broken: Notify,
    /// Why it is not asked.
    problem: Mutex<Option<String>>,
    writes: mpsc::Sender<(String, Arc<Entry>)>,
    waiting: Mutex<Option<Writes>>,
}

/// Entries with their keys that wait to be written.
type Writes = mpsc::Receiver<(String, Arc<Entry>)>;

/// Whether Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RemoteState {
    Answers,
    Left { problem: String },
}

impl Remote {
    pub(super) fn new(config: RemoteConfig) -> Self {
        let (writes, waiting) = mpsc::channel(WRITES);
        Self {
            config,
            link: RwLock::default(),
            broken: Notify::new(),
            problem: Mutex::new(Some("it was not asked yet".to_owned())),
            writes,
            waiting: Mutex::new(Some(waiting)),
        }
    }

    pub(super) fn state(&self) -> RemoteState {
        match &*self.problem.lock().unwrap_or_else(PoisonError::into_inner) {
            None => RemoteState::Answers,
            Some(problem) => RemoteState::Left { problem: problem.clone() },
        }
    }

    /// Keeps the connection and writes, until the process stops. Once.
    pub(super) async fn run(&self, stopping: &CancellationToken) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(waiting) = waiting else { return };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.keep_connected() => {}
            () = self.write(waiting) => {}
        }
    }

    async fn keep_connected(&self) {
        let (mut number, mut pause) = (0, PAUSE);
        loop {
            let connecting = tokio::time::timeout(CONNECT_MAX, self.config.address.connect(CONNECT_MAX));
            let problem = match connecting.await {
                Ok(Ok(link)) => {
                    number += 1;
                    tracing::info!("Redis answers");
                    self.give(Some((number, link)), None);
                    self.broken.notified().await;
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {CONNECT_MAX:?}")),
            };
            match problem {
                None => pause = PAUSE,
                Some(problem) => {
                    if pause == PAUSE {
                        tracing::warn!(problem, "Redis does not answer");
                    }
                    self.give(None, Some(problem));
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn give(&self, link: Option<(u64, RedisLink)>, problem: Option<String>) {
        metrics::gauge!(CONNECTED).set(if link.is_some() { 1.0 } else { 0.0 });
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Takes a connection away that did not do, unless that has happened.
    fn leave(&self, number: u64, problem: String) {
        metrics::counter!(FAILURES).increment(1);
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        if link.as_ref().is_some_and(|(current, _)| *current == number) {
            *link = None;
            drop(link);
            tracing::warn!(problem, "Redis is left out");
            metrics::gauge!(CONNECTED).set(0.0);
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
            self.broken.notify_one();
        }
    }

    pub(super) async fn ask(&self, command: &redis::Cmd) -> Option<Value> {
        let (number, mut link) = self.link.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        match tokio::time::timeout(self.config.timeout, link.ask(command)).await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                self.leave(number, error.to_string());
                None
            }
            Err(_) => {
                self.leave(number, format!("no answer within {:?}", self.config.timeout));
                None
            }
        }
    }

    /// Asks whether it is there, so that the state is true when nobody else has asked for a while.
    pub(super) async fn probe(&self) {
        self.ask(&redis::cmd("PING")).await;
    }

    pub(super) async fn get(&self, key: &str) -> Option<Entry> {
        let found = self.ask(redis::cmd("GET").arg(self.name(key))).await?;
        match found {
            Value::BulkString(bytes) => Entry::decode(key, bytes),
            // Anything but text is nothing of ours.
            _ => None,
        }
    }

    /// Has an entry written soon, or not at all.
    pub(super) fn put(&self, key: &str, entry: Arc<Entry>) {
        if entry.bytes() > super::entry::MAX_BYTES {
            return;
        }
        if self.writes.try_send((key.to_owned(), entry)).is_err() {
            metrics::counter!(DROPPED).increment(1);
        }
    }

    async fn write(&self, mut waiting: Writes) {
        while let Some((key, entry)) = waiting.recv().await {
            let left = entry.expires_at.saturating_sub(unix_ms());
            if left > 0 {
                let mut set = redis::cmd("SET");
                set.arg(self.name(&key)).arg(entry.encode(&key)).arg("PX").arg(left);
                self.ask(&set).await;
            }
        }
    }

    pub(super) fn name(&self, key: &str) -> String {
        format!("{}|{key}", self.config.namespace)
    }
}

pub(super) fn describe() {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!(FAILURES, "Answers of Redis that did not come in time or were errors.");
    describe_counter!(DROPPED, "Entries that were not written because too many waited.");
    describe_gauge!(CONNECTED, "Whether Redis answers (1) or is left out (0).");
}
