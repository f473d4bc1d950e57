//! What a Postgres server logs of the statements that it executes, read back as a script for pgbench.

use std::collections::BTreeMap;

/// How the statement ends that reads and locks the row of a writing transaction's institute.
const LOCKS_INSTITUTE: &str = "FOR NO KEY UPDATE";

/// A transaction as pgbench runs it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    statements: Vec<String>,
}

impl Script {
    /// In pgbench's own language.
    pub(crate) fn text(&self) -> String {
        // What a request names once and for all, each transaction must name anew.
        let mut text = "\\set k random(1, 1000000000000000)\n".to_owned();
        for statement in &self.statements {
            text.push_str(statement);
            // The institute's locked row says the revision that this transaction follows.
            text.push_str(if statement.ends_with(LOCKS_INSTITUTE) { " \\gset\n" } else { ";\n" });
        }
        text
    }

    /// The same transaction whichever revision it finds, of one that was recorded as it followed `revision`. That must be a number
    /// that stands for nothing else.
    pub(crate) fn after_any_revision(mut self, revision: u64) -> Self {
        assert!(self.statements.iter().any(|sql| sql.ends_with(LOCKS_INSTITUTE)), "{self:?}");
        let (before, made) = (format!("'{revision}'"), format!("'{}'", revision + 1));
        for statement in &mut self.statements {
            *statement = statement.replace(&before, ":revision").replace(&made, "(:revision + 1)");
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.statements.len()
    }
}

/// The transaction with the most statements, of those that spoke of `institute`. Others look after the store meanwhile, on the same
/// connection too. Lines begin with `[PID] `, continued ones with a tab.
pub(crate) fn longest(log: &str, institute: &str) -> Script {
    let mut entries: Vec<(u32, String)> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), entry(line)) {
            (Some(more), _) => {
                if let Some((_, text)) = entries.last_mut() {
                    text.push(' ');
                    text.push_str(more);
                }
            }
            (None, Some(entry)) => entries.push(entry),
            (None, None) => {}
        }
    }
    let mut processes = BTreeMap::<u32, Vec<Script>>::new();
    for (process, text) in entries {
        let transactions = processes.entry(process).or_insert_with(|| vec![Script::default()]);
        if let Some(sql) = text.strip_prefix("LOG:  statement: ") {
            if sql.trim_start().starts_with("BEGIN") {
                transactions.push(Script::default());
            }
            last(transactions).push(sql.trim().to_owned());
        } else if let Some((_, sql)) =
            text.strip_prefix("LOG:  execute ").and_then(|rest| rest.split_once(": "))
        {
            last(transactions).push(sql.trim().to_owned());
        } else if let Some(values) = text.strip_prefix("DETAIL:  parameters: ")
            && let Some(statement) = last(transactions).last_mut()
        {
            *statement = filled_in(statement, values);
        }
    }
    let speaks = |script: &Script| script.statements.iter().any(|sql| sql.contains(institute));
    let found = processes.into_values().flatten().filter(speaks).max_by_key(Script::len);
    found.expect("the server logs what it executes")
}

/// The statements of the transaction that has begun last.
fn last(transactions: &mut [Script]) -> &mut Vec<String> {
    &mut transactions.last_mut().expect("there is what came before the first transaction").statements
}

fn entry(line: &str) -> Option<(u32, String)> {
    let (process, text) = line.strip_prefix('[')?.split_once("] ")?;
    Some((process.parse().ok()?, text.to_owned()))
}

/// `sql` with its parameters replaced by `values`, which read `$1 = 'a', $2 = NULL`.
fn filled_in(sql: &str, values: &str) -> String {
    let mut literals = Vec::new();
    let mut rest = values;
    while let Some((_, after)) = rest.split_once(" = ") {
        let end = literal_end(after);
        literals.push(without_colons(&fresh_if_unique(&after[..end])));
        rest = &after[end..];
    }
    // From the last one, so that $1 is not found in $12.
    literals
        .iter()
        .enumerate()
        .rev()
        .fold(sql.to_owned(), |sql, (at, literal)| sql.replace(&format!("${}", at + 1), literal))
}

/// Where a literal ends: `NULL`, or a text in quotes in which a quote stands twice.
fn literal_end(text: &str) -> usize {
    if !text.starts_with('\'') {
        return text.find(',').unwrap_or(text.len());
    }
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The same text without colons, behind which pgbench looks for the name of a variable.
fn without_colons(literal: &str) -> String {
    if !literal.starts_with('\'') || !literal.contains(':') {
        return literal.to_owned();
    }
    format!("E{}", literal.replace('\\', "\\\\").replace(':', "\\x3a"))
}

/// Ids that the origin makes at random are made at random by pgbench too: a second row of the same id would be refused.
fn fresh_if_unique(literal: &str) -> String {
    let inner = literal.trim_matches('\'');
    let is_uuid = inner.len() == 36
        && inner.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if is_uuid { "gen_random_uuid()::text".to_owned() } else { literal.to_owned() }
}
