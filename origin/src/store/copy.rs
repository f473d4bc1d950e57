//! Moving an embedded store into an empty Postgres database, checked row by row.
//!
//! Everything happens in one transaction of Postgres: either all is there, and equal, or nothing is.

use super::error::{OpenError, PostgresError};
use super::settings::PostgresConfig;
use super::{postgres, sqlite};
use rusqlite::types::ValueRef;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::Path;
use tokio_postgres::Client;

/// Rows sent at a time, and about how many bytes of them.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("embedded store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{table}: {problem}")]
    Postgres { table: &'static str, problem: PostgresError },
    #[error("the Postgres database is not empty: an origin has used it")]
    NotEmpty,
    #[error("{table} {column}: {text:?} is not {kind:?}")]
    Value { table: &'static str, column: &'static str, kind: Kind, text: String },
    #[error("{table}: {from} rows with content {from_content} became {to} rows with content {to_content}")]
    Differs { table: &'static str, from: u64, from_content: String, to: u64, to_content: String },
}

/// What became of one table.
#[derive(Debug)]
pub(crate) struct CopiedTable {
    pub(crate) table: &'static str,
    pub(crate) rows: u64,
    /// Hash of all rows, whatever their order.
    pub(crate) content: String,
}

/// How a column looks on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Real,
    Bytes,
    /// Milliseconds there, `timestamptz` here.
    Time,
    /// `YYYY-MM-DD` there, `date` here.
    Date,
    /// JSON text there, `json`, `jsonb` or an array here.
    Json,
}

struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Kind)],
    /// Rows of one institute (`?1`), with the table's own columns under the name `t`.
    from: &'static str,
}

use Kind::{Bytes, Date, Integer, Json, Real, Text, Time};

const OWN: &str = "WHERE t.institute = ?1";
const OF_DOCUMENT: &str = "JOIN documents d ON d.document = t.document WHERE d.institute = ?1";

/// In the order in which rows refer to each other.
#[rustfmt::skip]
const TABLES: &[Table] = &[
    Table { name: "institutes", from: OWN, columns: &[("institute", Text), ("name", Text), ("time_zone", Text),
        ("currency", Text), ("revision", Integer), ("created_at", Time)] },
    Table { name: "feed", from: OWN, columns: &[("institute", Text), ("revision", Integer), ("tags", Json),
        ("documents", Json), ("committed_at", Time)] },
    Table { name: "outbox", from: OWN, columns: &[("institute", Text), ("consumer", Text), ("revision", Integer),
        ("events", Json), ("committed_at", Time), ("due_at", Time), ("failures", Integer), ("fault", Text),
        ("set_aside_at", Time)] },
    Table { name: "users", from: OWN, columns: &[("user", Text), ("institute", Text), ("email", Text), ("name", Text),
        ("role", Text), ("password_hash", Text), ("messages_read", Integer), ("created_at", Time),
        ("deactivated_at", Time), ("revocation", Json)] },
    Table { name: "guardians", from: OWN, columns: &[("institute", Text), ("guardian", Text), ("student", Text)] },
    Table { name: "devices", from: OWN, columns: &[("institute", Text), ("user", Text), ("device", Text),
        ("name", Text), ("platform", Text), ("registered_at", Time)] },
    Table { name: "password_resets", from: OWN, columns: &[("token_hash", Bytes), ("institute", Text),
        ("user", Text), ("expires_at", Time)] },
    Table { name: "refresh_tokens", from: "JOIN users u ON u.user = t.user WHERE u.institute = ?1",
        columns: &[("token_hash", Bytes), ("family", Text), ("user", Text), ("device", Text), ("issued_at", Time),
            ("expires_at", Time), ("rotated_at", Time), ("revoked_at", Time), ("successor", Bytes)] },
    Table { name: "batches", from: OWN, columns: &[("institute", Text), ("batch", Text), ("title", Text)] },
    Table { name: "batch_teachers", from: OWN, columns: &[("institute", Text), ("batch", Text), ("user", Text)] },
    Table { name: "enrolments", from: OWN, columns: &[("institute", Text), ("batch", Text), ("student", Text),
        ("enrolled_at", Time)] },
    Table { name: "classes", from: OWN, columns: &[("institute", Text), ("class", Text), ("batch", Text),
        ("title", Text), ("room", Text), ("teacher", Text), ("starts_at", Time), ("ends_at", Time),
        ("cancelled_at", Time), ("series", Text)] },
    Table { name: "attendance", from: OWN, columns: &[("institute", Text), ("class", Text), ("student", Text),
        ("mark", Text), ("marks", Json), ("document", Text), ("heads", Json), ("writers", Json),
        ("remark", Text), ("remark_writers", Json)] },
    Table { name: "assignments", from: OWN, columns: &[("institute", Text), ("assignment", Text), ("batch", Text),
        ("title", Text), ("due_at", Time), ("max_score", Real)] },
    Table { name: "submissions", from: OWN, columns: &[("institute", Text), ("submission", Text),
        ("assignment", Text), ("student", Text), ("submitted_at", Time), ("text", Text), ("score", Real),
        ("feedback", Text), ("graded_by", Text), ("graded_at", Time)] },
    Table { name: "messages", from: OWN, columns: &[("institute", Text), ("message", Text), ("author", Text),
        ("recipient", Text), ("batch", Text), ("text", Text), ("posted_at", Time), ("retracted_at", Time),
        ("retracted_by", Text), ("reason", Text), ("arrived", Integer)] },
    Table { name: "notifications", from: OWN, columns: &[("institute", Text), ("user", Text), ("revision", Integer),
        ("position", Integer), ("kind", Text), ("body", Json), ("created_at", Time), ("read_at", Time)] },
    Table { name: "invoices", from: OWN, columns: &[("institute", Text), ("invoice", Text), ("student", Text),
        ("title", Text), ("amount_minor", Integer), ("paid_minor", Integer), ("due_on", Date), ("voided_at", Time)] },
    Table { name: "payments", from: OWN, columns: &[("institute", Text), ("payment", Text), ("invoice", Text),
        ("amount_minor", Integer), ("method", Text), ("reference", Text), ("recorded_by", Text), ("paid_at", Time),
        ("refunded_minor", Integer)] },
    Table { name: "refunds", from: OWN, columns: &[("institute", Text), ("refund", Text), ("payment", Text),
        ("amount_minor", Integer), ("reason", Text), ("refunded_by", Text), ("refunded_at", Time)] },
    Table { name: "ledger", from: OWN, columns: &[("institute", Text), ("kind", Text), ("entry", Text),
        ("student", Text), ("invoice", Text), ("amount_minor", Integer), ("at", Time)] },
    Table { name: "payment_events", from: OWN, columns: &[("institute", Text), ("provider", Text), ("event", Text),
        ("status", Text), ("reason", Text), ("body", Text), ("received_at", Time), ("settled_at", Time),
        ("settled_by", Text), ("settlement", Text)] },
    Table { name: "idempotency", from: OWN, columns: &[("institute", Text), ("key", Text), ("user", Text),
        ("device", Text), ("request_hash", Bytes), ("status", Text), ("outcome", Json), ("revision", Integer),
        ("decided_at", Time), ("entity_tag", Text)] },
    Table { name: "documents", from: OWN, columns: &[("document", Text), ("institute", Text), ("kind", Text),
        ("subject", Text), ("batch", Text), ("owner", Text), ("heads", Json), ("changes", Integer),
        ("created_at", Time), ("deleted_at", Time), ("deleted_by", Text), ("successor", Text), ("cut_heads", Text),
        ("cut_first", Text)] },
    Table { name: "doubts", from: OWN, columns: &[("institute", Text), ("subject", Text), ("document", Text),
        ("batch", Text), ("asked_by", Text), ("question", Text), ("answers", Json), ("answer_count", Integer),
        ("answered_by", Text), ("conflicts", Integer), ("omitted_bytes", Integer), ("words", Text),
        ("asked_at", Time), ("updated_at", Time), ("heads", Json)] },
    Table { name: "changes", from: OF_DOCUMENT, columns: &[("document", Text), ("position", Integer), ("hash", Bytes),
        ("bytes", Bytes), ("user", Text), ("device", Text), ("edge", Text), ("received_at", Time)] },
    Table { name: "actors", from: OWN, columns: &[("institute", Text), ("document", Text), ("actor", Bytes),
        ("user", Text), ("device", Text), ("since", Time)] },
    Table { name: "carried", from: OWN, columns: &[("institute", Text), ("document", Text), ("hash", Bytes),
        ("upto", Bytes), ("carried_as", Bytes)] },
    Table { name: "snapshots", from: OF_DOCUMENT, columns: &[("document", Text), ("position", Integer),
        ("bytes", Bytes)] },
    Table { name: "edge_logs", from: OWN, columns: &[("institute", Text), ("log", Text), ("edge", Text),
        ("acknowledged", Integer)] },
    Table { name: "quarantine", from: OWN, columns: &[("institute", Text), ("document", Text), ("hash", Bytes),
        ("user", Text), ("device", Text), ("edge", Text), ("code", Text), ("bytes", Bytes), ("refused_at", Time),
        ("settled_at", Time), ("settled_by", Text), ("outcome", Text)] },
    Table { name: "audit", from: OWN, columns: &[("institute", Text), ("entry", Text), ("at", Time), ("user", Text),
        ("device", Text), ("command", Text), ("key", Text), ("kind", Text), ("record", Text), ("before", Json),
        ("after", Json), ("refusal", Text), ("epoch", Integer), ("revision", Integer)] },
    Table { name: "figures", from: OWN, columns: &[("institute", Text), ("figure", Text), ("part", Text),
        ("value", Integer)] },
    Table { name: "class_figures", from: OWN, columns: &[("institute", Text), ("class", Text), ("present", Integer),
        ("absent", Integer), ("late", Integer), ("excused", Integer), ("conflicts", Integer)] },
    Table { name: "user_activities", from: OWN, columns: &[("institute", Text), ("activity", Text), ("at", Time),
        ("user", Text), ("kind", Text), ("device", Text)] },
];

/// Tables in parts by time: when their first row is from, and what makes the parts from there on.
const PARTITIONED: [(&str, &str, &str); 2] = [
    (
        "messages",
        "SELECT min(posted_at) FROM messages",
        "SELECT ensure_message_partitions(to_timestamp($1::bigint / 1000), 2)",
    ),
    (
        "user_activities",
        "SELECT min(at) FROM user_activities",
        "SELECT ensure_activity_partitions(to_timestamp($1::bigint / 1000), 2)",
    ),
];

/// The keys that sign tokens belong to no institute.
const SIGNING_KEYS: Table = Table {
    name: "signing_keys",
    from: "WHERE ?1 = ''",
    columns: &[("kid", Text), ("secret", Bytes), ("created_at", Time), ("signs_from", Time)],
};

/// Copies the embedded store in `folder`, which no origin has open. Blocks.
pub(crate) fn copy(folder: &Path, config: &PostgresConfig) -> Result<Vec<CopiedTable>, CopyError> {
    let source = sqlite::Exclusive::open(folder)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OpenError::Runtime)?;
    runtime.block_on(async {
        let client = postgres::client_of_migrated(config).await?;
        copy_all(source.connection(), &client).await
    })
}

async fn copy_all(source: &rusqlite::Connection, client: &Client) -> Result<Vec<CopiedTable>, CopyError> {
    let fault =
        |table| move |error: tokio_postgres::Error| CopyError::Postgres { table, problem: error.into() };
    client.batch_execute("BEGIN").await.map_err(fault("transaction"))?;
    let used =
        client.query_one("SELECT count(*) FROM signing_keys", &[]).await.map_err(fault("signing_keys"))?;
    if used.get::<_, i64>(0) > 0 {
        return Err(CopyError::NotEmpty);
    }
    let mut institutes = source.prepare("SELECT institute FROM institutes ORDER BY institute")?;
    let institutes = institutes.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    for institute in &institutes {
        let sql = "SELECT count(*) FROM revisions(ARRAY[$1])";
        let there = client.query_one(sql, &[institute]).await.map_err(fault("institutes"))?;
        if there.get::<_, i64>(0) > 0 {
            return Err(CopyError::NotEmpty);
        }
    }
    for (table, first, partitions) in PARTITIONED {
        let first = source.query_row(first, [], |row| row.get::<_, Option<i64>>(0))?;
        if let Some(first) = first {
            client.execute(partitions, &[&first]).await.map_err(fault(table))?;
        }
    }
    let mut copied = vec![copy_table(source, client, &SIGNING_KEYS, &[String::new()]).await?];
    for table in TABLES {
        copied.push(copy_table(source, client, table, &institutes).await?);
    }
    client.batch_execute("COMMIT").await.map_err(fault("commit"))?;
    Ok(copied)
}

/// Copies the rows of each institute, in its name, and compares what then is there.
async fn copy_table(
    source: &rusqlite::Connection,
    client: &Client,
    table: &Table,
    institutes: &[String],
) -> Result<CopiedTable, CopyError> {
    let fault =
        |error: tokio_postgres::Error| CopyError::Postgres { table: table.name, problem: error.into() };
    let (mut from, mut to) = (Content::default(), Content::default());
    for institute in institutes {
        let name = "SELECT set_config('rollcall.institute', $1, true)";
        client.execute(name, &[institute]).await.map_err(fault)?;
        send(source, client, table, institute, &mut from).await?;
        let rows = client.query(&table.check(), &[]).await.map_err(fault)?;
        for row in rows {
            let mut hash = Sha256::new();
            for (at, (name, kind)) in table.columns.iter().enumerate() {
                let text: Option<String> = row.try_get(at).map_err(fault)?;
                let text = text.map(|text| kind.plain(text, table.name, name)).transpose()?;
                add(&mut hash, text.as_deref());
            }
            to.add(hash);
        }
    }
    if (from.rows, from.sum) != (to.rows, to.sum) {
        return Err(CopyError::Differs {
            table: table.name,
            from: from.rows,
            from_content: from.text(),
            to: to.rows,
            to_content: to.text(),
        });
    }
    Ok(CopiedTable { table: table.name, rows: from.rows, content: from.text() })
}

/// Sends one institute's rows in batches and adds them to `content`.
async fn send(
    source: &rusqlite::Connection,
    client: &Client,
    table: &Table,
    institute: &str,
    content: &mut Content,
) -> Result<(), CopyError> {
    let fault =
        |error: tokio_postgres::Error| CopyError::Postgres { table: table.name, problem: error.into() };
    let columns: Vec<String> = table.columns.iter().map(|(name, _)| format!("t.\"{name}\"")).collect();
    let select = format!("SELECT {} FROM {} t {}", columns.join(", "), table.name, table.from);
    let mut select = source.prepare(&select)?;
    let mut rows = select.query([institute])?;
    let insert = client.prepare(&table.insert()).await.map_err(fault)?;
    let (mut batch, mut in_batch) = (String::from("["), 0);
    loop {
        let row = rows.next()?;
        let full = in_batch >= BATCH_ROWS || batch.len() >= BATCH_BYTES;
        if in_batch > 0 && (full || row.is_none()) {
            batch.push(']');
            client.execute(&insert, &[&batch, &institute]).await.map_err(fault)?;
            batch.clear();
            batch.push('[');
            in_batch = 0;
        }
        let Some(row) = row else { return Ok(()) };
        if in_batch > 0 {
            batch.push(',');
        }
        in_batch += 1;
        let mut hash = Sha256::new();
        for (at, (name, kind)) in table.columns.iter().enumerate() {
            let plain = kind.read(row.get_ref(at)?, table.name, name)?;
            batch.push(if at == 0 { '{' } else { ',' });
            let value = plain.as_deref().map_or_else(|| "null".to_owned(), |text| kind.json(text));
            // Writing to a text cannot fail.
            let _ = write!(batch, "\"{name}\":{value}");
            let plain = plain.map(|text| kind.plain(text, table.name, name)).transpose()?;
            add(&mut hash, plain.as_deref());
        }
        batch.push('}');
        content.add(hash);
    }
}

impl Table {
    fn insert(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let names = names.join(", ");
        let own = self.columns.iter().any(|(name, _)| *name == "institute") || self.name == SIGNING_KEYS.name;
        // Here every table of an institute names it.
        let (column, value) = if own { ("", "") } else { (", institute", ", $2") };
        let times: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| match kind {
                Time => format!("to_timestamp((r->>'{name}')::bigint / 1000.0)"),
                _ => format!("p.\"{name}\""),
            })
            .collect();
        format!(
            "INSERT INTO {table} ({names}{column}) SELECT {values}{value}
             FROM json_array_elements($1::text::json) r
             CROSS JOIN LATERAL json_to_record(r) AS p({types})
             WHERE $2::text IS NOT NULL",
            table = self.name,
            values = times.join(", "),
            types = self.record(),
        )
    }

    /// The columns as Postgres reads them from JSON.
    fn record(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| {
                let kind = match (kind, *name) {
                    (Text, _) => "text",
                    (Integer | Time, _) => "bigint",
                    (Real, _) => "double precision",
                    (Bytes, _) => "bytea",
                    (Date, _) => "date",
                    (Json, _) if self.is_list(name) => "text[]",
                    (Json, "documents") => "jsonb",
                    (Json, _) => "json",
                };
                format!("\"{name}\" {kind}")
            })
            .collect();
        columns.join(", ")
    }

    /// Whether Postgres has a list where SQLite has JSON.
    fn is_list(&self, column: &str) -> bool {
        matches!((self.name, column), ("feed", "tags") | ("documents", "heads"))
    }

    /// All rows of the transaction's institute, each column as the text that [`Kind::plain`] understands.
    fn check(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| match (kind, *name) {
                (Time, _) => format!("(extract(epoch FROM \"{name}\") * 1000)::bigint::text"),
                (Bytes, _) => format!("'\\x' || encode(\"{name}\", 'hex')"),
                (Json, _) if self.is_list(name) => format!("array_to_json(\"{name}\")::text"),
                (Text | Integer | Real | Date | Json, _) => format!("\"{name}\"::text"),
            })
            .collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.name)
    }
}

impl Kind {
    /// A value of the embedded store as text.
    fn read(
        self,
        value: ValueRef<'_>,
        table: &'static str,
        column: &'static str,
    ) -> Result<Option<String>, CopyError> {
        Ok(Some(match value {
            ValueRef::Null => return Ok(None),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Blob(bytes) => format!("\\x{}", hex::encode(bytes)),
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).map_err(|error| CopyError::Value {
                table,
                column,
                kind: self,
                text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            })?,
        }))
    }

    /// Text of either side in the one form that is compared.
    fn plain(self, text: String, table: &'static str, column: &'static str) -> Result<String, CopyError> {
        let wrong = |text: String| CopyError::Value { table, column, kind: self, text };
        match self {
            Text | Integer | Bytes | Time | Date => Ok(text),
            Real => match text.parse::<f64>() {
                Ok(number) => Ok(format!("{:016x}", number.to_bits())),
                Err(_) => Err(wrong(text)),
            },
            Json => match serde_json::from_str::<Value>(&text) {
                Ok(value) => Ok(value.to_string()),
                Err(_) => Err(wrong(text)),
            },
        }
    }

    /// Text of the embedded store as a value in JSON.
    fn json(self, text: &str) -> String {
        match self {
            Integer | Time | Json => text.to_owned(),
            // As text: JSON's numbers are read as decimals and rounded once more.
            Text | Real | Bytes | Date => Value::from(text).to_string(),
        }
    }
}

/// Count and hash of rows in any order: the sum of the rows' hashes.
#[derive(Default)]
struct Content {
    rows: u64,
    sum: [u64; 4],
}

impl Content {
    fn add(&mut self, row: Sha256) {
        self.rows += 1;
        let hash: [u8; 32] = row.finalize().into();
        for (sum, part) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let part: [u8; 8] = part.try_into().expect("chunks of eight have eight bytes");
            *sum = sum.wrapping_add(u64::from_be_bytes(part));
        }
    }

    fn text(&self) -> String {
        self.sum.iter().map(|part| format!("{part:016x}")).collect()
    }
}

/// Adds a column to a row's hash, so that no two rows look alike.
fn add(hash: &mut Sha256, text: Option<&str>) {
    match text {
        None => hash.update([0]),
        Some(text) => {
            hash.update([1]);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
    }
}
