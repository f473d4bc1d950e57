//! `rollcall-edge documents` and `rollcall-edge sessions`: asks the edge that runs, at its operators' address, and prints what it
//! says.

mod client;
mod table;

use crate::config::{DocumentsFlags, SessionsFlags};
use client::OperatorClient;
pub use client::OperatorError;
use serde_json::Value;
use std::io::{self, Write};
use std::net::SocketAddr;
use sync_protocol::document_id::DocumentId;
use table::{Column, Table};

const DOCUMENTS: [Column; 10] = [
    Column::new("DOCUMENT", "/id"),
    Column::new("KIND", "/kind"),
    Column::new("SUBJECT", "/subject"),
    Column::new("BATCH", "/batch"),
    Column::new("BYTES", "/bytes"),
    Column::new("TAIL", "/tail_changes"),
    Column::new("UNPUSHED", "/unacknowledged_changes"),
    Column::new("REFUSED", "/refused_changes"),
    Column::new("LAST REFUSAL", "/last_refusal/code"),
    Column::new("BEHIND", "/behind"),
];

const SESSIONS: [Column; 10] = [
    Column::new("SESSION", "/session"),
    Column::new("INSTITUTE", "/institute"),
    Column::new("USER", "/user"),
    Column::new("DEVICE", "/device"),
    Column::new("OPENED AT MS", "/opened_at_ms"),
    Column::new("FRAMES IN", "/frames_received"),
    Column::new("BYTES IN", "/bytes_received"),
    Column::new("FRAMES OUT", "/frames_sent"),
    Column::new("BYTES OUT", "/bytes_sent"),
    Column::new("BYTES WAITING", "/bytes_waiting"),
];

/// Of one document, a line each.
const STATE: [Column; 16] = [
    Column::new("kind", "/figures/kind"),
    Column::new("subject", "/figures/subject"),
    Column::new("batch", "/figures/batch"),
    Column::new("fault", "/fault"),
    Column::new("bytes", "/figures/bytes"),
    Column::new("changes", "/changes"),
    Column::new("most changes", "/most_changes"),
    Column::new("bytes without compression", "/content_bytes"),
    Column::new("most of those", "/most_content_bytes"),
    Column::new("changes behind the snapshot", "/figures/tail_changes"),
    Column::new("changes that wait for others", "/held_changes"),
    Column::new("changes that the origin has not acknowledged", "/figures/unacknowledged_changes"),
    Column::new("changes that the origin is not known to have", "/uncommitted_changes"),
    Column::new("changes that were refused", "/figures/refused_changes"),
    Column::new("last refusal", "/figures/last_refusal/code"),
    Column::new("the origin has news", "/figures/behind"),
];

const READERS: [Column; 5] = [
    Column::new("SESSION", "/session"),
    Column::new("USER", "/user"),
    Column::new("DEVICE", "/device"),
    Column::new("LACKS", "/lacking_changes"),
    Column::new("HEADS", "/heads"),
];

/// Prints the documents that the flags ask for, all or one.
pub async fn documents(
    admin: Option<SocketAddr>,
    flags: &DocumentsFlags,
    out: &mut dyn Write,
) -> Result<(), OperatorError> {
    let client = OperatorClient::new(admin)?;
    let institutes = match &flags.institute {
        Some(institute) => vec![institute.clone()],
        None => client.institutes().await?,
    };
    match &flags.document {
        Some(document) => one_document(&client, &institutes, document, flags.json, out).await,
        None => {
            for institute in &institutes {
                if !flags.json {
                    writeln!(out, "institute {institute}")?;
                }
                print_pages(
                    &client,
                    &format!("/sync/documents?institute={institute}"),
                    &DOCUMENTS,
                    flags.json,
                    out,
                )
                .await?;
            }
            Ok(())
        }
    }
}

pub async fn sessions(
    admin: Option<SocketAddr>,
    flags: &SessionsFlags,
    out: &mut dyn Write,
) -> Result<(), OperatorError> {
    let client = OperatorClient::new(admin)?;
    let of = flags.institute.as_ref().map(|institute| format!("institute={institute}"));
    let path = format!("/sync/sessions?{}", of.unwrap_or_default());
    print_pages(&client, &path, &SESSIONS, flags.json, out).await
}

/// Page by page, so that a long list needs no room.
async fn print_pages(
    client: &OperatorClient,
    path: &str,
    columns: &[Column],
    json: bool,
    out: &mut dyn Write,
) -> Result<(), OperatorError> {
    let mut table = Table::new(columns);
    let mut next = None;
    loop {
        let after = next.map(|next: String| format!("&after={next}")).unwrap_or_default();
        let page = client.get(&format!("{path}{after}")).await?;
        let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        match json {
            true => items.iter().try_for_each(|item| writeln!(out, "{item}"))?,
            false => table.print(items, out)?,
        }
        next = match &page["next"] {
            Value::Null => return Ok(()),
            next => Some(table::text(next)),
        };
    }
}

/// Looks for the document in each institute: its id says nothing of whose it is.
async fn one_document(
    client: &OperatorClient,
    institutes: &[String],
    document: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), OperatorError> {
    let document: DocumentId =
        document.parse().map_err(|_| OperatorError::NoDocumentId(document.to_owned()))?;
    for institute in institutes {
        let path = format!("/sync/documents/{document}?institute={institute}");
        let state = match client.get(&path).await {
            Err(OperatorError::Refused { ref code, .. }) if code == "document-unknown" => continue,
            answer => answer?,
        };
        if json {
            writeln!(out, "{state}")?;
        } else {
            print_document(institute, &state, out)?;
        }
        return Ok(());
    }
    Err(OperatorError::NoDocument(document))
}

fn print_document(institute: &str, state: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "document {}", table::text(&state["figures"]["id"]))?;
    writeln!(out, "  institute: {institute}")?;
    for column in STATE {
        let value = column.of(state);
        if !value.is_empty() {
            writeln!(out, "  {}: {value}", column.title())?;
        }
    }
    for (name, heads) in [("head", &state["heads"]), ("committed at the origin", &state["committed"])] {
        for head in heads.as_array().into_iter().flatten() {
            writeln!(out, "  {name}: {}", table::text(head))?;
        }
    }
    let readers = state["readers"].as_array().map_or(&[][..], Vec::as_slice);
    writeln!(out, "  sessions that read it: {}", table::text(&state["reader_count"]))?;
    if readers.is_empty() { Ok(()) } else { Table::new(&READERS).print(readers, out) }
}
