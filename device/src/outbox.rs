//! Commands that wait for the edge, and what became of them.
//!
//! A command is on disk before anything is sent, under a key that names it for good, so it may be sent any number of
//! times. Within a priority, commands go in the order of their submission. A refused one is set aside with the edge's
//! reason; one that the edge keeps failing on is stepped over, so that neither holds up the rest.

use crate::backoff::Backoff;
use crate::device::{Device, Event, Inner, online};
use crate::error::{DeviceError, Problem};
use crate::session::problem_of;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::batch::Priority;
use sync_protocol::bookmark::{BOOKMARK_HEADER, Bookmark};
use sync_protocol::command::{Command, IDEMPOTENCY_KEY_HEADER};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// An origin that was down for hours is asked for receipts this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Failures of the edge (500) on one command before the others go first.
const MAX_FAILURES: u32 = 3;

#[derive(Debug, Clone, PartialEq)]
pub enum CommandState {
    /// On this device only.
    Pending,
    /// The edge has it on disk and will deliver it.
    AtEdge,
    /// Done at the origin, once.
    Committed { outcome: Value, bookmark: Option<Bookmark> },
    /// Will not be done.
    Refused(Problem),
}

/// A command in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEntry {
    pub key: String,
    pub priority: Priority,
    /// JSON, as it is sent.
    pub command: String,
    pub state: CommandState,
}

impl CommandState {
    pub fn is_settled(&self) -> bool {
        matches!(self, CommandState::Committed { .. } | CommandState::Refused(_))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            CommandState::Pending => "pending",
            CommandState::AtEdge => "at-edge",
            CommandState::Committed { .. } => "committed",
            CommandState::Refused(_) => "refused",
        }
    }

    pub(crate) fn detail(&self) -> Option<String> {
        match self {
            CommandState::Pending | CommandState::AtEdge => None,
            CommandState::Committed { outcome, .. } => Some(outcome.to_string()),
            CommandState::Refused(problem) => {
                let Problem { status, code, detail } = problem;
                Some(serde_json::json!({"status": status, "code": code, "detail": detail}).to_string())
            }
        }
    }

    pub(crate) fn bookmark(&self) -> Option<Bookmark> {
        match self {
            CommandState::Committed { bookmark, .. } => *bookmark,
            CommandState::Pending | CommandState::AtEdge | CommandState::Refused(_) => None,
        }
    }

    pub(crate) fn from_stored(name: &str, detail: Option<String>, bookmark: Option<Bookmark>) -> Self {
        let detail = || detail.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        match name {
            "committed" => CommandState::Committed { outcome: detail(), bookmark },
            "refused" => CommandState::Refused(problem_in(&detail(), 0)),
            "at-edge" => CommandState::AtEdge,
            _ => CommandState::Pending,
        }
    }
}

impl Device {
    /// Puts a command into the outbox and gives its key. It is on disk when this returns, and goes out when there is
    /// a network.
    pub fn submit(&self, command: &Command, priority: Priority) -> Result<String, DeviceError> {
        let json = command.canonical();
        Command::decode(&json)?;
        let key = uuid::Uuid::now_v7().to_string();
        self.inner.lock().store.add_command(&key, priority, &String::from_utf8_lossy(&json))?;
        self.inner.submitted.notify_one();
        self.inner.tell(Event::Command(key.clone()));
        Ok(key)
    }

    pub fn command(&self, key: &str) -> Result<Option<CommandState>, DeviceError> {
        Ok(self.inner.lock().store.command(key)?.map(|entry| entry.state))
    }

    /// All commands of this device, oldest first.
    pub fn outbox(&self) -> Result<Vec<OutboxEntry>, DeviceError> {
        self.inner.lock().store.all_commands()
    }

    /// Waits until the edge has the command on disk, or more.
    pub async fn wait_until_sent(&self, key: &str, deadline: Duration) -> Result<CommandState, DeviceError> {
        self.wait_for_command(key, "the edge to take", deadline, |state| *state != CommandState::Pending)
            .await
    }

    /// Waits until the command is done or refused.
    pub async fn wait_until_settled(
        &self,
        key: &str,
        deadline: Duration,
    ) -> Result<CommandState, DeviceError> {
        self.wait_for_command(key, "the origin to settle", deadline, CommandState::is_settled).await
    }

    async fn wait_for_command(
        &self,
        key: &str,
        what: &str,
        deadline: Duration,
        ready: impl Fn(&CommandState) -> bool,
    ) -> Result<CommandState, DeviceError> {
        let what = format!("{what} command {key}");
        self.wait_for(&what, deadline, |device| match device.command(key) {
            Ok(state) => state.filter(&ready).map(Ok),
            Err(error) => Some(Err(error)),
        })
        .await?
    }
}

/// How a round of work on the outbox ended.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// Nothing is left to do.
    Done,
    /// Receipts are open at the edge, or the edge is not reachable: look again later.
    Again,
}

/// Works on the outbox until the device closes.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut network = inner.network.subscribe();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut failures = HashMap::new();
    while online(&mut network).await {
        network.mark_unchanged();
        let round = tokio::select! {
            round = work(&inner, &mut failures) => round,
            _ = network.changed() => {
                backoff.reset();
                continue;
            }
        };
        let pause = match round {
            Ok(Round::Done) => None,
            Ok(Round::Again) => Some(backoff.pause()),
            Err(error) => {
                tracing::debug!(%error, "outbox waits");
                Some(backoff.pause())
            }
        };
        let pause = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            () = inner.submitted.notified() => backoff.reset(),
            _ = network.changed() => backoff.reset(),
        }
    }
}

async fn work(inner: &Inner, failures: &mut HashMap<String, u32>) -> Result<Round, DeviceError> {
    let open = inner.lock().store.open_commands()?;
    let mut round = Round::Done;
    for entry in open {
        let state = match entry.state {
            CommandState::AtEdge => ask_for_receipt(inner, &entry).await?,
            _ => deliver(inner, &entry, failures).await?,
        };
        if !state.is_settled() {
            round = Round::Again;
        }
        if state != entry.state {
            inner.lock().store.put_command_state(&entry.key, &state)?;
            inner.tell(Event::Command(entry.key));
        }
    }
    Ok(round)
}

/// Sends one command. An error ends the round, so that later commands do not overtake this one.
async fn deliver(
    inner: &Inner,
    entry: &OutboxEntry,
    failures: &mut HashMap<String, u32>,
) -> Result<CommandState, DeviceError> {
    let answer = inner
        .send_any(|http, base| {
            http.post(format!("{base}/commands"))
                .header(IDEMPOTENCY_KEY_HEADER, &entry.key)
                .header("content-type", "application/json")
                .body(entry.command.clone())
        })
        .await?;
    match answer.status() {
        StatusCode::ACCEPTED => Ok(CommandState::AtEdge),
        status if status.is_success() => committed(answer).await,
        StatusCode::INTERNAL_SERVER_ERROR => {
            let count = failures.entry(entry.key.clone()).or_insert(0);
            *count += 1;
            if *count > MAX_FAILURES {
                return Ok(CommandState::Pending);
            }
            Err(DeviceError::Refused(problem_of(answer).await))
        }
        status if status.is_server_error() || is_for_later(status) => {
            Err(DeviceError::Refused(problem_of(answer).await))
        }
        _ => Ok(CommandState::Refused(problem_of(answer).await)),
    }
}

/// 401 says that this device cannot sign in at the moment, nothing about the command.
fn is_for_later(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_MANY_REQUESTS
    )
}

async fn ask_for_receipt(inner: &Inner, entry: &OutboxEntry) -> Result<CommandState, DeviceError> {
    let answer = inner.send_any(|http, base| http.get(format!("{base}/commands/{}", entry.key))).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        // The edge is another one, or lost its disk. The key makes sending again harmless.
        return Ok(CommandState::Pending);
    }
    if !answer.status().is_success() {
        return Err(DeviceError::Refused(problem_of(answer).await));
    }
    let header = bookmark_header(&answer);
    let receipt: Value = answer.json().await.map_err(|error| DeviceError::Protocol(error.to_string()))?;
    let outcome = receipt.get("outcome").cloned().unwrap_or(Value::Null);
    match receipt.get("status").and_then(Value::as_str) {
        Some("delivered") => Ok(committed_of(&receipt, outcome, header)),
        Some("refused") => {
            let problem = receipt.get("problem").unwrap_or(&outcome);
            Ok(CommandState::Refused(problem_in(problem, 422)))
        }
        _ => Ok(CommandState::AtEdge),
    }
}

async fn committed(answer: Response) -> Result<CommandState, DeviceError> {
    let header = bookmark_header(&answer);
    let body: Value = answer.json().await.map_err(|error| DeviceError::Protocol(error.to_string()))?;
    let outcome = body.get("outcome").cloned().unwrap_or_else(|| body.clone());
    Ok(committed_of(&body, outcome, header))
}

/// A receipt holds the origin's whole answer, `{"outcome", "bookmark"}`, as its outcome; the answer itself is flat.
fn committed_of(body: &Value, outcome: Value, header: Option<Bookmark>) -> CommandState {
    let bookmark = [body.get("bookmark"), outcome.get("bookmark")]
        .into_iter()
        .flatten()
        .find_map(|bookmark| bookmark.as_str()?.parse().ok())
        .or(header);
    let outcome = match outcome.get("outcome") {
        Some(inner) if outcome.get("bookmark").is_some() => inner.clone(),
        _ => outcome,
    };
    CommandState::Committed { outcome, bookmark }
}

fn bookmark_header(answer: &Response) -> Option<Bookmark> {
    answer.headers().get(BOOKMARK_HEADER)?.to_str().ok()?.parse().ok()
}

fn problem_in(value: &Value, status: u16) -> Problem {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Problem {
        status: value
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|s| u16::try_from(s).ok())
            .unwrap_or(status),
        code: text("code").unwrap_or_else(|| "unknown".into()),
        detail: text("detail").or_else(|| text("title")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_edge::TestEdge;

    const SOON: Duration = Duration::from_secs(10);

    fn grade(student: &str) -> Command {
        Command::GradeSubmission {
            assignment: "a1".into(),
            student: student.into(),
            score: 7.5,
            feedback: None,
        }
    }

    #[tokio::test]
    async fn a_command_submitted_offline_survives_a_restart_and_is_delivered_once() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").offline().open();
        let key = device.submit(&grade("s1"), Priority::Normal).unwrap();
        device.close().await;
        let device = edge.device(&folder, "phone").open();
        let state = device.wait_until_settled(&key, SOON).await.unwrap();
        assert!(matches!(state, CommandState::Committed { .. }), "{state:?}");
        assert_eq!(device.bookmark().unwrap(), state.bookmark());
        assert_eq!(edge.commands(), [key]);
    }

    #[tokio::test]
    async fn high_priority_goes_first_and_the_rest_keeps_its_order() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").offline().open();
        let submit =
            |student: &str, priority| device.submit(&grade(student), priority).expect("the command is valid");
        let first = submit("s1", Priority::Normal);
        let second = submit("s2", Priority::Normal);
        let urgent = submit("s3", Priority::High);
        device.go_online();
        device.wait_until_settled(&second, SOON).await.unwrap();
        assert_eq!(edge.commands(), [urgent, first, second]);
    }

    #[tokio::test]
    async fn a_refused_command_is_set_aside_with_its_reason_and_the_next_one_goes_on() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").open();
        let refused = device.submit(&grade("nobody"), Priority::Normal).unwrap();
        let good = device.submit(&grade("s1"), Priority::Normal).unwrap();
        device.wait_until_settled(&good, SOON).await.unwrap();
        let state = device.command(&refused).unwrap().unwrap();
        assert!(matches!(&state, CommandState::Refused(problem) if problem.code == "not-found"), "{state:?}");
    }

    #[tokio::test]
    async fn a_command_that_the_edge_always_fails_on_does_not_hold_up_the_rest() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").open();
        let poison = device.submit(&grade("poison"), Priority::Normal).unwrap();
        let good = device.submit(&grade("s1"), Priority::Normal).unwrap();
        device.wait_until_settled(&good, SOON).await.unwrap();
        assert_eq!(device.command(&poison).unwrap(), Some(CommandState::Pending));
    }

    #[tokio::test]
    async fn a_receipt_is_followed_until_the_origin_is_back() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").open();
        edge.stop_origin();
        let key = device.submit(&grade("s1"), Priority::Normal).unwrap();
        assert_eq!(device.wait_until_sent(&key, SOON).await.unwrap(), CommandState::AtEdge);
        edge.start_origin();
        let state = device.wait_until_settled(&key, SOON).await.unwrap();
        assert_eq!(state.bookmark(), device.bookmark().unwrap());
        assert!(state.bookmark().is_some(), "{state:?}");
    }

    #[test]
    fn every_state_survives_the_store() {
        let problem = Problem { status: 404, code: "not-found".into(), detail: "no such student".into() };
        let committed = CommandState::Committed { outcome: serde_json::json!({"score": 7}), bookmark: None };
        for state in [CommandState::Pending, CommandState::AtEdge, committed, CommandState::Refused(problem)]
        {
            let again = CommandState::from_stored(state.name(), state.detail(), state.bookmark());
            assert_eq!(again, state);
        }
    }

    #[tokio::test]
    async fn an_invalid_command_is_refused_before_it_is_stored() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").offline().open();
        assert!(matches!(
            device.submit(&grade("no such id"), Priority::Normal),
            Err(DeviceError::Command(_))
        ));
        assert!(device.outbox().unwrap().is_empty());
    }
}
