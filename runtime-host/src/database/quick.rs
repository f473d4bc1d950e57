//! Which statements are quick for certain, so that they may run where they are called and need no change of thread.
//!
//! SQLite says what a statement does: its program is read before, once. What only such instructions are in that make, look up or
//! remove a row by its key takes as long as the program is: there is no loop over rows, no function, no trigger and no
//! comparison of long values in it, wherever in the schema those would come from.

use crate::limits;
use rusqlite::types::Value;
use std::collections::HashMap;

/// What is known of a connection's statements.
#[derive(Default)]
pub(super) struct KnownStatements {
    /// None for one that is not quick.
    by_text: HashMap<Box<str>, Option<Program>>,
    /// The schema for which that holds.
    schema: Option<i64>,
}

/// A quick statement: how often it uses each of its parameters.
pub(super) struct Program {
    uses: Vec<u32>,
}

/// Instructions of SQLite's machine that take a time of their own which depends on no table's size but by its logarithm, and on
/// no value's length but by copying it once.
const QUICK: &[&str] = &[
    "Affinity",
    "Column",
    "Copy",
    "DeferredSeek",
    "Delete",
    "EndCoroutine",
    "Explain",
    "FinishSeek",
    "Found",
    "Goto",
    "Halt",
    "HaltIfNull",
    "IdxDelete",
    "IdxGE",
    "IdxGT",
    "IdxInsert",
    "IdxLE",
    "IdxLT",
    "IdxRowid",
    "Init",
    "InitCoroutine",
    "Insert",
    "Int64",
    "IntCopy",
    "Integer",
    "IsNull",
    "MakeRecord",
    "MustBeInt",
    "NewRowid",
    "NoConflict",
    "Noop",
    "NotExists",
    "NotFound",
    "NotNull",
    "Null",
    "Once",
    "OpenWrite",
    "Real",
    "RealAffinity",
    "ReleaseReg",
    "Rowid",
    "SCopy",
    "SeekGE",
    "SeekRowid",
    "SoftNull",
    "String8",
    "Transaction",
    "TypeCheck",
    "Variable",
    "Yield",
];

/// One instruction, and the first of its numbers.
pub(super) struct Instruction {
    pub(super) code: String,
    pub(super) first: i64,
}

impl Program {
    /// None for a program that may take long.
    pub(super) fn of(instructions: &[Instruction]) -> Option<Self> {
        let is = |code: &str| instructions.iter().any(|instruction| instruction.code == code);
        let short = instructions.len() <= limits::SQLITE_QUICK_INSTRUCTIONS;
        let known = instructions.iter().all(|instruction| QUICK.contains(&instruction.code.as_str()));
        // A row that goes, or that another takes the place of, may be as long as the longest value: one is quick, hundreds are
        // not. Where a key is not looked for, or looked for and replaced, what is there is overwritten.
        let overwrites = is("Delete") || is("IdxDelete") || is("NotExists") || is("MustBeInt");
        let adds_rows_alone = !overwrites && (is("NoConflict") || is("NewRowid"));
        if !short || !known || is("InitCoroutine") && !adds_rows_alone {
            return None;
        }
        let mut uses = Vec::new();
        for variable in instructions.iter().filter(|instruction| instruction.code == "Variable") {
            let at = usize::try_from(variable.first).ok()?.checked_sub(1)?;
            if uses.len() <= at {
                uses.resize(at + 1, 0);
            }
            uses[at] += 1;
        }
        Some(Self { uses })
    }

    /// Bytes that are written with these parameters.
    fn bytes(&self, parameters: &[Value]) -> usize {
        let length = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
            Value::Null | Value::Integer(_) | Value::Real(_) => 0,
        };
        self.uses.iter().zip(parameters).map(|(uses, value)| *uses as usize * length(value)).sum()
    }
}

impl KnownStatements {
    /// What was known holds for `schema` alone.
    pub(super) fn hold_for(&mut self, schema: i64) {
        if self.schema != Some(schema) {
            self.forget();
            self.schema = Some(schema);
        }
    }

    pub(super) fn forget(&mut self) {
        self.by_text.clear();
        self.schema = None;
    }

    pub(super) fn contains(&self, statement: &str) -> bool {
        self.by_text.contains_key(statement)
    }

    pub(super) fn add(&mut self, statement: &str, program: Option<Program>) {
        if self.by_text.len() >= limits::SQLITE_CACHED_STATEMENTS {
            self.by_text.clear();
        }
        self.by_text.insert(statement.into(), program);
    }

    /// Whether this statement with these parameters is quick. One that was never seen is not.
    pub(super) fn is_quick(&self, statement: &str, parameters: &[Value]) -> bool {
        let program = self.by_text.get(statement).and_then(Option::as_ref);
        program.is_some_and(|program| program.bytes(parameters) <= limits::SQLITE_QUICK_BYTES)
    }
}

/// Whether a statement may be quick, as far as its text tells.
pub(super) fn is_worth_a_look(statement: &str) -> bool {
    let writes = ["INSERT", "REPLACE", "UPDATE", "DELETE"].iter().any(|word| begins_with(statement, word));
    // `changes()` is a function, so that a statement with it is not quick, and must not be explained before it runs.
    writes
        && statement.len() <= limits::SQLITE_QUICK_TEXT_BYTES
        && !statement.as_bytes().windows(CHANGES.len()).any(|text| text.eq_ignore_ascii_case(CHANGES))
}

const CHANGES: &[u8] = b"changes(";

fn begins_with(statement: &str, word: &str) -> bool {
    let first = statement.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    first.eq_ignore_ascii_case(word)
}

/// Whether a statement changes rows or the transaction alone: anything else may change the schema.
pub(super) fn changes_rows_alone(statement: &str) -> bool {
    const WORDS: [&str; 14] = [
        "INSERT",
        "REPLACE",
        "UPDATE",
        "DELETE",
        "WITH",
        "SELECT",
        "EXPLAIN",
        "BEGIN",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "VALUES",
    ];
    WORDS.iter().any(|word| begins_with(statement, word))
}
