//! The deletion of a document: for everybody and for good. Its edges hear of it in the feed.

use super::{CommandFault, forbidden, not_found};
use crate::store::{Account, WriteTx};
use serde_json::{Value, json};
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{self, Kind, Member};
use sync_protocol::link::DocumentRecord;
use sync_protocol::tag;

/// Deletes a document; the outcome says whether it was there still.
pub(super) fn delete(tx: &mut WriteTx<'_>, by: &Account, text: &str, at: i64) -> Result<Value, CommandFault> {
    let document: DocumentId = text.parse().map_err(|_| not_found("document", text))?;
    let outcome = |deleted| Ok(json!({"command": "delete-document", "document": text, "deleted": deleted}));
    let Some(record) = tx.document(document)? else {
        return if tx.is_deleted(document)? { outcome(false) } else { Err(not_found("document", text)) };
    };
    if !kind::may_delete(&record, Member { user: &by.user, role: by.role, batches: &[] }) {
        return Err(forbidden("only an admin, or the owner of a private document, may delete it"));
    }
    // What it continues holds the same words.
    let mut gone = vec![record.clone()];
    while let Some(old) = gone.pop() {
        gone.extend(tx.predecessors(old.document)?);
        remove_projection(tx, &old)?;
        tx.delete_document(old.document, &by.user, at)?;
        tx.touch_document(old.document, Vec::new());
    }
    tx.touch(record.batch.as_deref().map_or_else(|| tag::user(&record.owner), tag::batch));
    outcome(true)
}

/// What was projected of it goes with it.
fn remove_projection(tx: &mut WriteTx<'_>, record: &DocumentRecord) -> Result<(), CommandFault> {
    let document = record.document.to_string();
    match record.kind.parse() {
        Ok(Kind::Attendance) => {}
        Ok(Kind::Doubt) => {
            tx.remove_doubt(&record.subject, &document)?;
            return Ok(());
        }
        Ok(Kind::Notes | Kind::Planner | Kind::Private) | Err(_) => return Ok(()),
    }
    for row in tx.attendance(&record.subject)? {
        if row.document.as_ref() == Some(&document) {
            tx.remove_attendance(&record.subject, &row.student)?;
            tx.touch(tag::user(&row.student));
        }
    }
    Ok(())
}
