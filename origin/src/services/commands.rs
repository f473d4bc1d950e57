//! Commands: authoritative writes, decided once for each idempotency key.
//!
//! A decision, the effect that it stands for, its entry in the audit log and the feed row commit together. What is decided stays decided: the same
//! key gives the same answer for good, refusals included.

mod effects;

use super::auth::account_of;
use super::records::{self, Subject};
use crate::store::{AuditEntry, Decision, DecisionStatus, Store, StoreError, WriteTx};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sync_protocol::bookmark::Bookmark;
use sync_protocol::command::{Command, CommandError};
use sync_protocol::token::{Claims, TokenError};
use utoipa::ToSchema;
use uuid::Uuid;

/// A command is dated at most this far back: an edge keeps it while the origin is away. Older ones, and ones from the
/// future, count from the time when they arrive.
const MAX_AGE_MS: i64 = 30 * 24 * 60 * 60 * 1000;

const COMMANDS: &str = "rollcall_origin_commands_total";

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandFault {
    #[error(transparent)]
    Invalid(#[from] CommandError),
    #[error("{}", .0.detail)]
    Refused(Refusal),
    #[error("the idempotency key was used for another command")]
    KeyReused,
    #[error("header If-Match has more than {} bytes", records::MAX_IF_MATCH_BYTES)]
    IfMatch,
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
    /// What should be made is there.
    AlreadyExists,
    /// The record is not as the giver of the command saw it.
    PreconditionFailed,
}

impl RefusalCode {
    /// The stable `code` of the problem details.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RefusalCode::Forbidden => "forbidden",
            RefusalCode::NotFound => "not-found",
            RefusalCode::InvalidField => "invalid-field",
            RefusalCode::AlreadyGraded => "already-graded",
            RefusalCode::AlreadyExists => "already-exists",
            RefusalCode::PreconditionFailed => "precondition-failed",
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
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Receipt {
    /// Names the command and the records that it made or changed.
    #[schema(value_type = Object)]
    pub(crate) outcome: Value,
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub(crate) bookmark: Bookmark,
    /// A place in the database's log that is not before the commit; 0 when it is not known.
    #[serde(skip)]
    pub(crate) position: u64,
    /// Of the command's record as the command left it: not as somebody else has made it since.
    #[serde(skip)]
    pub(crate) entity_tag: Option<String>,
}

/// What became of a command, by its key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandState {
    /// `delivered` or `refused`.
    status: &'static str,
    /// As [`Receipt::outcome`], or a [`Refusal`].
    #[schema(value_type = Object)]
    outcome: Value,
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
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

/// A command with what holds for this one delivery.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) command: Command,
    /// The header: the states of the command's record, any of which it may have.
    pub(crate) if_match: Option<String>,
    /// When it was given.
    pub(crate) at: i64,
    pub(crate) now: i64,
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
        let order = Order { key, command, if_match: None, at, now };
        // The edge has verified the token when it took the command: what ends later ends no command.
        self.decide_once(&forwarded.identity, order, None).await
    }

    /// Decides a command, or repeats what was decided under its key.
    ///
    /// Rights are those that the store knows now, not those of the token: the command may have waited for hours.
    pub(crate) async fn apply(&self, identity: &Claims, order: Order) -> Result<Receipt, CommandFault> {
        self.decide_once(identity, order, Some(identity.clone())).await
    }

    /// `shown` is the token that came with the command, if it is to be judged now.
    async fn decide_once(
        &self,
        identity: &Claims,
        order: Order,
        shown: Option<Claims>,
    ) -> Result<Receipt, CommandFault> {
        if order.if_match.as_ref().is_some_and(|tags| tags.len() > records::MAX_IF_MATCH_BYTES) {
            return Err(CommandFault::IfMatch);
        }
        let user = identity.sub.clone();
        let device = identity.dev.clone();
        let request_hash = hash_request(&user, &order);
        let name = order.command.name();
        let decided = self.store.write(&identity.inst, move |tx| {
            if let Some(claims) = shown {
                account_of::<CommandFault>(tx.records(), &claims)?;
            }
            match tx.decision(&order.key)? {
                Some(decision) if decision.request_hash == request_hash => Ok((decision, "repeated")),
                Some(_) => Err(CommandFault::KeyReused),
                None => {
                    let decision = decide(tx, Request { user, device, request_hash, order })?;
                    let outcome = decision.status.as_str();
                    Ok((decision, outcome))
                }
            }
        });
        let decided = decided.await;
        let outcome = match &decided {
            Ok(decided) => decided.value.1,
            Err(CommandFault::Store(_)) => "failed",
            Err(CommandFault::KeyReused) => "key-reused",
            Err(
                CommandFault::Invalid(_)
                | CommandFault::Refused(_)
                | CommandFault::Token(_)
                | CommandFault::IfMatch
                | CommandFault::UnknownKey,
            ) => "refused",
        };
        metrics::counter!(COMMANDS, "command" => name, "outcome" => outcome).increment(1);
        let decided = decided?;
        self.answer(&decided.value.0, decided.position)
    }

    /// What became of the command with this key, for the device that gave it.
    pub(crate) async fn state(&self, identity: &Claims, key: String) -> Result<CommandState, CommandFault> {
        sync_protocol::command::check_key(Some(&key))?;
        let claims = identity.clone();
        let decision = self.store.read::<_, CommandFault, _>(&identity.inst, move |records| {
            account_of::<CommandFault>(records, &claims)?;
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
                let entity_tag = decision.entity_tag.clone();
                Ok(Receipt {
                    outcome: parse(decision)?,
                    bookmark: self.bookmark(decision),
                    position,
                    entity_tag,
                })
            }
            DecisionStatus::Refused => Err(CommandFault::Refused(parse(decision)?)),
        }
    }

    fn bookmark(&self, decision: &Decision) -> Bookmark {
        Bookmark::new(self.store.epoch(), decision.revision)
    }
}

/// Says what the metrics of commands mean, to whoever collects them.
pub(crate) fn describe() {
    metrics::describe_counter!(COMMANDS, "Commands that were well formed, by name and outcome.");
}

struct Request {
    user: String,
    device: String,
    request_hash: Vec<u8>,
    order: Order,
}

/// Applies a command for the first time, keeps the decision and writes it into the audit log.
fn decide(tx: &mut WriteTx<'_>, request: Request) -> Result<Decision, CommandFault> {
    let Request { user, device, request_hash, order } = request;
    if tx.institute()?.is_none() {
        // There is nowhere to keep the decision.
        return Err(effects::forbidden("there is no such institute"));
    }
    let mut subject = Subject::of_command(tx.records(), &order.command)?;
    subject.given_by(&user);
    let before = subject.state(tx.records())?;
    let applied = match &order.if_match {
        Some(tags) if !records::matches(tags, before.as_ref()) => Err(effects::precondition_failed()),
        Some(_) | None => tx.attempt(|tx| effects::apply(tx, &user, &order.command, order.at)),
    };
    let (status, outcome, refusal) = match applied {
        Ok(outcome) => {
            subject.made(&outcome);
            (DecisionStatus::Delivered, outcome.to_string(), None)
        }
        Err(CommandFault::Refused(refusal)) => {
            let outcome = serde_json::to_string(&refusal).expect("texts are always JSON");
            (DecisionStatus::Refused, outcome, Some(refusal.code.as_str()))
        }
        Err(fault) => return Err(fault),
    };
    let after = if refusal.is_none() { subject.state(tx.records())? } else { before.clone() };
    let entity_tag = after.as_ref().filter(|_| refusal.is_none()).map(records::entity_tag);
    let revision = tx.revision_after()?;
    tx.add_audit(&AuditEntry {
        entry: Uuid::now_v7().to_string(),
        at: order.now,
        user: user.clone(),
        device: device.clone(),
        command: order.command.name(),
        key: order.key.clone(),
        kind: subject.kind,
        record: subject.name(),
        before: before.map(|state| subject.logged(state)),
        after: after.map(|state| subject.logged(state)),
        refusal,
        revision,
    })?;
    let decision = Decision { user, device, request_hash, status, outcome, revision, entity_tag };
    tx.add_decision(&order.key, &decision, order.now)?;
    Ok(decision)
}

fn hash_request(user: &str, order: &Order) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(user.as_bytes());
    hash.update([0]);
    hash.update(order.command.canonical());
    if let Some(tags) = &order.if_match {
        hash.update([0]);
        hash.update(tags.as_bytes());
    }
    hash.finalize().to_vec()
}

fn parse<T: serde::de::DeserializeOwned>(decision: &Decision) -> Result<T, StoreError> {
    serde_json::from_str(&decision.outcome)
        .map_err(|_| StoreError::Corrupt { what: "outcome of a command", text: decision.outcome.clone() })
}

fn as_text<S: serde::Serializer>(bookmark: &Bookmark, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(bookmark)
}
