//! Commands: authoritative writes, decided once for each idempotency key.
//!
//! A decision, the effect that it stands for and the feed row commit together. What is decided stays decided: the same
//! key gives the same answer for good, refusals included.

mod effects;

use crate::store::{Decision, DecisionStatus, Store, StoreError, WriteTx};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sync_protocol::bookmark::Bookmark;
use sync_protocol::command::{Command, CommandError};
use sync_protocol::token::{Claims, TokenError};

/// A command is dated at most this far back: an edge keeps it while the origin is away. Older ones, and ones from the
/// future, count from the time when they arrive.
const MAX_AGE_MS: i64 = 30 * 24 * 60 * 60 * 1000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandFault {
    #[error(transparent)]
    Invalid(#[from] CommandError),
    #[error("{}", .0.detail)]
    Refused(Refusal),
    #[error("the idempotency key was used for another command")]
    KeyReused,
    #[error("there is no command with this key")]
    UnknownKey,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RefusalCode {
    Forbidden,
    NotFound,
    InvalidField,
    AlreadyGraded,
}

impl RefusalCode {
    /// The stable `code` of the problem details.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RefusalCode::Forbidden => "forbidden",
            RefusalCode::NotFound => "not-found",
            RefusalCode::InvalidField => "invalid-field",
            RefusalCode::AlreadyGraded => "already-graded",
        }
    }
}

/// Why a command was refused for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: RefusalCode,
    pub(crate) detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
}

/// The answer to a command that had its effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Receipt {
    pub(crate) outcome: Value,
    #[serde(serialize_with = "as_text")]
    pub(crate) bookmark: Bookmark,
    /// A place in the database's log that is not before the commit; 0 when it is not known.
    #[serde(skip)]
    pub(crate) position: u64,
}

/// What became of a command, by its key.
#[derive(Debug, Serialize)]
pub(crate) struct CommandState {
    /// `delivered` or `refused`.
    status: &'static str,
    /// As [`Receipt::outcome`], or a [`Refusal`].
    outcome: Value,
    #[serde(serialize_with = "as_text")]
    pub(crate) bookmark: Bookmark,
}

/// A command as an edge forwards it, with the identity that the edge verified when it took the command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardedCommand {
    pub(crate) identity: Claims,
    pub(crate) key: String,
    /// Unix milliseconds.
    pub(crate) accepted_at: i64,
    pub(crate) command: Value,
}

#[derive(Clone)]
pub(crate) struct CommandService {
    store: Store,
}

impl CommandService {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Applies a forwarded command; see [`CommandService::apply`].
    pub(crate) async fn apply_forwarded(
        &self,
        forwarded: ForwardedCommand,
        now: i64,
    ) -> Result<Receipt, CommandFault> {
        let key = sync_protocol::command::check_key(Some(&forwarded.key))?.to_owned();
        let json = serde_json::to_vec(&forwarded.command).expect("a JSON value is always JSON");
        let command = Command::decode(&json)?;
        let plausible = (now - MAX_AGE_MS..=now).contains(&forwarded.accepted_at);
        let at = if plausible { forwarded.accepted_at } else { now };
        // The edge has verified the token when it took the command: what ends later ends no command.
        self.decide_once(&forwarded.identity, key, command, Given { at, now, shown: None }).await
    }

    /// Decides a command, or repeats what was decided under its key.
    ///
    /// Rights are those that the store knows now, not those of the token: the command may have waited for hours.
    pub(crate) async fn apply(
        &self,
        identity: &Claims,
        key: String,
        command: Command,
        at: i64,
        now: i64,
    ) -> Result<Receipt, CommandFault> {
        self.decide_once(identity, key, command, Given { at, now, shown: Some(identity.clone()) }).await
    }

    async fn decide_once(
        &self,
        identity: &Claims,
        key: String,
        command: Command,
        given: Given,
    ) -> Result<Receipt, CommandFault> {
        let user = identity.sub.clone();
        let device = identity.dev.clone();
        let request_hash = hash_request(&user, &command);
        let decided = self.store.write(&identity.inst, move |tx| {
            let Given { at, now, shown } = given;
            if let Some(claims) = shown
                && let Some(account) = tx.account(&user)?
            {
                account.admit(&claims)?;
            }
            match tx.decision(&key)? {
                Some(decision) if decision.request_hash == request_hash => Ok(decision),
                Some(_) => Err(CommandFault::KeyReused),
                None => decide(tx, &key, Request { user, device, request_hash, command, at, now }),
            }
        });
        let decided = decided.await?;
        self.answer(&decided.value, decided.position)
    }

    /// What became of the command with this key, for the device that gave it.
    pub(crate) async fn state(&self, identity: &Claims, key: String) -> Result<CommandState, CommandFault> {
        sync_protocol::command::check_key(Some(&key))?;
        let claims = identity.clone();
        let decision = self.store.read::<_, CommandFault, _>(&identity.inst, move |records| {
            if let Some(account) = records.account(&claims.sub)? {
                account.admit(&claims)?;
            }
            Ok(records.decision(&key)?)
        });
        let own = |decision: &Decision| decision.user == identity.sub && decision.device == identity.dev;
        let decision = decision.await?.filter(own).ok_or(CommandFault::UnknownKey)?;
        let status = match decision.status {
            DecisionStatus::Delivered => "delivered",
            DecisionStatus::Refused => "refused",
        };
        Ok(CommandState { status, outcome: parse(&decision)?, bookmark: self.bookmark(&decision) })
    }

    fn answer(&self, decision: &Decision, position: u64) -> Result<Receipt, CommandFault> {
        match decision.status {
            DecisionStatus::Delivered => {
                Ok(Receipt { outcome: parse(decision)?, bookmark: self.bookmark(decision), position })
            }
            DecisionStatus::Refused => Err(CommandFault::Refused(parse(decision)?)),
        }
    }

    fn bookmark(&self, decision: &Decision) -> Bookmark {
        Bookmark::new(self.store.epoch(), decision.revision)
    }
}

/// When a command was given and arrived, and the token that came with it, if it is to be judged now.
struct Given {
    at: i64,
    now: i64,
    shown: Option<Claims>,
}

struct Request {
    user: String,
    device: String,
    request_hash: Vec<u8>,
    command: Command,
    at: i64,
    now: i64,
}

/// Applies a command for the first time and keeps the decision.
fn decide(tx: &mut WriteTx<'_>, key: &str, request: Request) -> Result<Decision, CommandFault> {
    if tx.institute()?.is_none() {
        // There is nowhere to keep the decision.
        return Err(effects::forbidden("there is no such institute"));
    }
    let applied = tx.attempt(|tx| effects::apply(tx, &request.user, &request.command, request.at));
    let (status, outcome) = match applied {
        Ok(outcome) => (DecisionStatus::Delivered, outcome.to_string()),
        Err(CommandFault::Refused(refusal)) => {
            (DecisionStatus::Refused, serde_json::to_string(&refusal).expect("texts are always JSON"))
        }
        Err(fault) => return Err(fault),
    };
    let decision = Decision {
        user: request.user,
        device: request.device,
        request_hash: request.request_hash,
        status,
        outcome,
        revision: tx.revision_after()?,
    };
    tx.add_decision(key, &decision, request.now)?;
    Ok(decision)
}

fn hash_request(user: &str, command: &Command) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(user.as_bytes());
    hash.update([0]);
    hash.update(command.canonical());
    hash.finalize().to_vec()
}

fn parse<T: serde::de::DeserializeOwned>(decision: &Decision) -> Result<T, StoreError> {
    serde_json::from_str(&decision.outcome)
        .map_err(|_| StoreError::Corrupt { what: "outcome of a command", text: decision.outcome.clone() })
}

fn as_text<S: serde::Serializer>(bookmark: &Bookmark, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(bookmark)
}
