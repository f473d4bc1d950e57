//! The outbox: commands that were acknowledged and wait for the origin, and what became of them.
//!
//! Each operation is one statement, so it is done or not done, whichever instance of the component runs it and wherever
//! that is killed.

mod sql;

use crate::forward::Outcome;
use crate::submission::Submission;
use rollcall_guest::{Problem, now_ms};
use spin_sdk::sqlite::{Connection, Error, RowResult, Value};
use std::sync::atomic::{AtomicBool, Ordering};

/// Commands of one institute that may wait: days of all its teachers' work, and at most some 100 MB.
pub(crate) const PENDING_MAX: usize = 100_000;
/// How long a receipt is kept after its command was settled.
const RECEIPT_LIFE_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Receipts removed at once, so that no statement holds the store for long.
const PRUNED_AT_ONCE: i64 = 500;
/// A lease outlives the longest call of the origin, and is renewed before each. After a crash a device waits this long.
const LEASE_MS: i64 = 15 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Delivered,
    Refused,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Delivered => "delivered",
            Status::Refused => "refused",
        }
    }

    fn decode(text: &str) -> Option<Self> {
        [Status::Pending, Status::Delivered, Status::Refused]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// What the outbox knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) hash: Vec<u8>,
    pub(crate) status: Status,
    /// There once the command is settled.
    pub(crate) outcome: Option<Outcome>,
}

impl Kept {
    pub(crate) fn is_pending(&self) -> bool {
        self.status == Status::Pending
    }
}

/// The unit of order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) institute: String,
    pub(crate) device: String,
}

/// What became of an attempt to append.
#[derive(Debug)]
pub(crate) enum Appended {
    Yes,
    /// The institute has [`PENDING_MAX`] waiting.
    Full,
    /// Another request brought the key meanwhile.
    KeyTaken(Kept),
}

pub(crate) struct Outbox {
    connection: Connection,
}

impl Outbox {
    pub(crate) async fn open() -> Result<Self, Problem> {
        /// Whether this instance has seen to the tables.
        static PREPARED: AtomicBool = AtomicBool::new(false);
        let connection = Connection::open_default().await.map_err(unavailable)?;
        let outbox = Self { connection };
        if !PREPARED.load(Ordering::Relaxed) {
            for statement in sql::TABLES {
                outbox.run(statement, []).await?;
            }
            PREPARED.store(true, Ordering::Relaxed);
        }
        Ok(outbox)
    }

    pub(crate) async fn find(&self, institute: &str, key: &str) -> Result<Option<Kept>, Problem> {
        let rows = self.run(sql::FIND, [institute.into(), key.into()]).await?;
        rows.first().map(|row| kept(row).ok_or_else(unreadable)).transpose()
    }

    pub(crate) async fn has_pending(&self, institute: &str, device: &str) -> Result<bool, Problem> {
        let rows = self.run(sql::HAS_PENDING, [institute.into(), device.into()]).await?;
        Ok(!rows.is_empty())
    }

    /// Durable when this returns.
    pub(crate) async fn append(&self, submission: &Submission) -> Result<Appended, Problem> {
        let pending_max = i64::try_from(PENDING_MAX).unwrap_or(i64::MAX);
        let parameters = [
            submission.institute.as_str().into(),
            submission.user.as_str().into(),
            submission.device.as_str().into(),
            submission.key.as_str().into(),
            submission.hash.clone().into(),
            submission.identity.as_str().into(),
            submission.command.as_str().into(),
            submission.accepted_at.into(),
            (pending_max - 1).into(),
        ];
        if !self.run(sql::APPEND, parameters).await?.is_empty() {
            return Ok(Appended::Yes);
        }
        let kept = self.find(&submission.institute, &submission.key).await?;
        Ok(kept.map_or(Appended::Full, Appended::KeyTaken))
    }

    /// Devices with something waiting; those whose first command was tried least come first.
    pub(crate) async fn waiting_devices(&self, limit: usize) -> Result<Vec<Device>, Problem> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.run(sql::WAITING_DEVICES, [limit.into()]).await?;
        rows.iter()
            .map(|row| Some(Device { institute: text(row, 0)?, device: text(row, 1)? }))
            .collect::<Option<_>>()
            .ok_or_else(unreadable)
    }

    /// Takes the device's lease, or renews it. False while another run holds it.
    pub(crate) async fn lease(&self, device: &Device, holder: &str) -> Result<bool, Problem> {
        let now = now_ms();
        let parameters = [
            device.institute.as_str().into(),
            device.device.as_str().into(),
            holder.into(),
            (now + LEASE_MS).into(),
            now.into(),
        ];
        Ok(!self.run(sql::LEASE, parameters).await?.is_empty())
    }

    pub(crate) async fn release(&self, device: &Device, holder: &str) -> Result<(), Problem> {
        let parameters = [device.institute.as_str().into(), device.device.as_str().into(), holder.into()];
        self.run(sql::RELEASE, parameters).await.map(drop)
    }

    /// The device's first command that waits.
    pub(crate) async fn next(&self, device: &Device) -> Result<Option<(i64, Submission)>, Problem> {
        let parameters = [device.institute.as_str().into(), device.device.as_str().into()];
        let rows = self.run(sql::NEXT, parameters).await?;
        rows.first().map(|row| submission(row, device).ok_or_else(unreadable)).transpose()
    }

    pub(crate) async fn settle_delivered(&self, sequence: i64, outcome: &Outcome) -> Result<(), Problem> {
        self.settle(sequence, Status::Delivered, outcome).await
    }

    pub(crate) async fn settle_refused(&self, sequence: i64, outcome: &Outcome) -> Result<(), Problem> {
        self.settle(sequence, Status::Refused, outcome).await
    }

    async fn settle(&self, sequence: i64, status: Status, outcome: &Outcome) -> Result<(), Problem> {
        let parameters = [
            sequence.into(),
            status.as_str().into(),
            outcome.http_status.into(),
            outcome.body.as_str().into(),
            now_ms().into(),
        ];
        self.run(sql::SETTLE, parameters).await.map(drop)
    }

    pub(crate) async fn count_attempt(&self, sequence: i64) -> Result<(), Problem> {
        self.run(sql::COUNT_ATTEMPT, [sequence.into()]).await.map(drop)
    }

    /// Of all institutes.
    pub(crate) async fn count_pending(&self) -> Result<u64, Problem> {
        let rows = self.run(sql::COUNT_PENDING, []).await?;
        rows.first().and_then(|row| row.get(0)).ok_or_else(unreadable)
    }

    /// Removes a few receipts whose time is over, and leases that nobody holds any more.
    pub(crate) async fn prune(&self) -> Result<(), Problem> {
        let now = now_ms();
        self.run(sql::PRUNE, [(now - RECEIPT_LIFE_MS).into(), PRUNED_AT_ONCE.into()]).await?;
        self.run(sql::PRUNE_LEASES, [now.into()]).await.map(drop)
    }

    async fn run<const N: usize>(
        &self,
        statement: &str,
        parameters: [Value; N],
    ) -> Result<Vec<RowResult>, Problem> {
        let result = self.connection.execute(statement, parameters).await.map_err(unavailable)?;
        result.collect().await.map_err(unavailable)
    }
}

fn kept(row: &RowResult) -> Option<Kept> {
    let outcome = match (row.get::<u16>(4), text(row, 5)) {
        (Some(http_status), Some(body)) => Some(Outcome { http_status, body }),
        _ => None,
    };
    Some(Kept {
        user: text(row, 0)?,
        device: text(row, 1)?,
        hash: row.get::<&[u8]>(2)?.to_vec(),
        status: Status::decode(row.get(3)?)?,
        outcome,
    })
}

fn submission(row: &RowResult, device: &Device) -> Option<(i64, Submission)> {
    let submission = Submission {
        institute: device.institute.clone(),
        user: text(row, 1)?,
        device: device.device.clone(),
        key: text(row, 2)?,
        hash: row.get::<&[u8]>(3)?.to_vec(),
        identity: text(row, 4)?,
        command: text(row, 5)?,
        accepted_at: row.get(6)?,
    };
    Some((row.get(0)?, submission))
}

fn text(row: &RowResult, column: usize) -> Option<String> {
    row.get::<&str>(column).map(str::to_owned)
}

fn unavailable(error: Error) -> Problem {
    eprintln!("outbox: {error}");
    Problem::store_unavailable()
}

fn unreadable() -> Problem {
    eprintln!("outbox: a row is not what this version writes");
    Problem::store_unavailable()
}
