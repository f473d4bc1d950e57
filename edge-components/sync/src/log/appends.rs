//! Changes that come in, in statements of many rows: a device that was away brings thousands, and a call of the host for each
//! costs about as much as the row.

use super::{Log, LogError, blob, integer};
use crate::bindings::spin::sqlite::sqlite::Value;
use std::sync::LazyLock;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Author, Source};
use sync_protocol::link::Hash;

/// Rows of a statement that has many: a call's cost is gone by then, and the statement's text is that of a small page.
const ROWS: usize = 64;
/// Bytes of its changes: keystrokes have about a hundred each. Larger ones go one by one.
const ROWS_BYTES: usize = 256 * 1024;
/// Parameters that all rows have in common; each has two of its own behind them.
const SHARED: usize = 6;

static ONE: LazyLock<String> = LazyLock::new(|| insert(1));
static MANY: LazyLock<String> = LazyLock::new(|| insert(ROWS));

fn insert(rows: usize) -> String {
    let row = |at: usize| {
        let own = SHARED + 2 * at;
        format!("(?1, ?2, ?{}, ?3, ?4, ?5, ?{}, ?6)", own + 1, own + 2)
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!(
        "INSERT OR IGNORE INTO changes (institute, document, hash, user, device, source, bytes, logged_at) VALUES {}",
        rows.join(", ")
    )
}

impl Log {
    /// Logs changes that somebody has brought to a document, in their order.
    pub(crate) fn append(
        &mut self,
        document: DocumentId,
        author: &Author,
        changes: Vec<(Hash, Vec<u8>)>,
    ) -> Result<(), LogError> {
        self.begin()?;
        let mut changes = changes.into_iter();
        while changes.len() > 0 {
            let next = &changes.as_slice()[..ROWS.min(changes.len())];
            let bytes: usize = next.iter().map(|(_, bytes)| bytes.len()).sum();
            let rows = if next.len() == ROWS && bytes <= ROWS_BYTES { ROWS } else { 1 };
            let mut row = self.shared(document, author);
            for (hash, bytes) in changes.by_ref().take(rows) {
                row.extend([blob(&hash.0), Value::Blob(bytes)]);
            }
            self.insert(row)?;
        }
        Ok(())
    }

    fn shared(&self, document: DocumentId, author: &Author) -> Vec<Value> {
        let source = match author.source {
            Source::Device => 0,
            Source::Origin => 1,
        };
        vec![
            self.own(),
            blob(document.as_bytes()),
            Value::Text(author.user.clone()),
            Value::Text(author.device.clone()),
            Value::Integer(source),
            integer(author.at),
        ]
    }

    /// Inserts what is not there.
    fn insert(&self, parameters: Vec<Value>) -> Result<(), LogError> {
        let (shared, own) = parameters.split_at(SHARED);
        let rows = own.len() / 2;
        let statement = if rows == 1 { &*ONE } else { &*MANY };
        self.connection.execute(statement, &parameters)?;
        if self.connection.changes() == rows as u64 {
            return Ok(());
        }
        for own in own.chunks_exact(2) {
            self.insert_again(&[shared, own].concat())?;
        }
        Ok(())
    }

    /// A row that a snapshot counts as covered is not loaded again, and after a discard the next snapshot may lack what is still
    /// to be pushed: brought again, it is logged anew, behind the snapshot. All others stay as they are.
    fn insert_again(&self, row: &[Value]) -> Result<(), LogError> {
        let key = vec![row[0].clone(), row[1].clone(), row[SHARED].clone()];
        self.run(
            "DELETE FROM changes WHERE institute = ?1 AND document = ?2 AND hash = ?3 AND sequence <= (
                SELECT upto FROM snapshots WHERE institute = ?1 AND document = ?2)",
            key,
        )?;
        self.connection.execute(&ONE, row)?;
        Ok(())
    }
}
