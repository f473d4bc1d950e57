//! `rollcall:sync/inspection`: what operators ask about documents, answered from the log and from the engine's memory.

use crate::bindings::exports::rollcall::sync::inspection::{DocumentFigures, DocumentState, Guest, Reader};
use crate::engine::{Engine, with_runner};
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine as protocol;
use sync_protocol::link::Hash;

/// Longest page, so that it is a fraction of a second for which devices wait.
const MAX_PAGE: u32 = 1_000;

impl Guest for Engine {
    fn documents(after: Option<String>, limit: u32) -> Result<Vec<DocumentFigures>, String> {
        let after = after.map(|id| parse(&id)).transpose()?;
        with_runner(|runner| runner.log().figures(after, limit.min(MAX_PAGE)))
    }

    fn document(id: String) -> Result<Option<DocumentState>, String> {
        let document = parse(&id)?;
        with_runner(|runner| {
            let Some(figures) = runner.log().figures_of(document)? else { return Ok(None) };
            Ok(runner.inspect(document)?.map(|inspection| state(figures, inspection)))
        })
    }
}

fn parse(id: &str) -> Result<DocumentId, String> {
    id.parse().map_err(|error| format!("{id:?}: {error}"))
}

fn state(figures: DocumentFigures, found: protocol::Inspection) -> DocumentState {
    DocumentState {
        figures,
        fault: found.fault,
        heads: texts(&found.heads),
        changes: found.changes,
        most_changes: found.most_changes,
        content_bytes: found.content_bytes,
        most_content_bytes: found.most_content_bytes,
        held_changes: found.held_changes,
        committed: texts(&found.committed),
        uncommitted_changes: found.uncommitted_changes,
        readers: found.readers.into_iter().map(reader).collect(),
        reader_count: found.reader_count,
    }
}

fn reader(reader: protocol::Reader) -> Reader {
    Reader {
        session: reader.session,
        user: reader.user,
        device: reader.device,
        heads: reader.heads.map(|heads| texts(&heads)),
        lacking_changes: reader.lacking_changes,
    }
}

fn texts(heads: &[Hash]) -> Vec<String> {
    heads.iter().map(hexadecimal).collect()
}

fn hexadecimal(hash: &Hash) -> String {
    hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}
