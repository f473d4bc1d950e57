//! Run lengths in the columns of changes and documents: a run of a few bytes stands for as many operations as it says, and the
//! library expands what it is given. Everything is counted here first, in steps that follow the bytes and not what they stand
//! for.

use super::{GateError, Reader};

/// Most operations of one change: half a million letters pasted or cleared at once. The library takes up to 750 bytes for each
/// while it merges a change (half of that in the sandbox, whose 512 MiB it must fit into).
pub const MAX_OPERATIONS: u64 = 1 << 19;
/// Most operations that the changes of one message may stand for. The library takes about 100 bytes for each when it reads a
/// whole document, and what is merged from it is merged in parts.
pub const MAX_MESSAGE_OPERATIONS: u64 = 1 << 21;
/// Most bytes of texts (keys, names of marks, messages) in columns of one message once all runs are written out. Keys are
/// short, and long texts are values, which no run repeats.
pub const MAX_REPEATED_TEXT: u64 = 64 * 1024 * 1024;
/// Most columns of a chunk. The format knows 15 for operations and 9 for changes.
const MAX_COLUMNS: u64 = 64;
/// The column of the counters of the objects that operations are on.
const OBJECT_COUNTER: u64 = 0x02;
/// The column of the keys of operations on maps.
const KEY: u64 = 0x15;
/// The column of the writers of a document's changes.
const CHANGE_ACTOR: u64 = 0x01;
/// Longest actor id, in bytes. Automerge makes ids of 16.
pub const MAX_ACTOR_BYTES: u64 = 256;

/// What is left of a message's allowance.
pub(super) struct Allowance {
    /// Bytes, inflated.
    pub(super) bytes: u64,
    operations: u64,
    text: u64,
}

impl Allowance {
    pub(super) fn of_a_message() -> Self {
        Self { bytes: super::MAX_INFLATED_BYTES, operations: MAX_MESSAGE_OPERATIONS, text: MAX_REPEATED_TEXT }
    }

    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), GateError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(GateError::InflatesTooFar)?;
        Ok(())
    }
}

/// Specification and length of each column, as they stand before the columns' data.
pub(super) fn column_list(r: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, GateError> {
    let count = r.count("columns", MAX_COLUMNS)?;
    (0..count).map(|_| Ok((r.number()?, r.number()?))).collect()
}

/// Actor ids behind their count; gives the count.
pub(super) fn actors(r: &mut Reader<'_>) -> Result<u64, GateError> {
    let count = r.number()?;
    for _ in 0..count {
        actor(r)?;
    }
    Ok(count)
}

fn actor(r: &mut Reader<'_>) -> Result<(), GateError> {
    let length = r.count("bytes in an actor id", MAX_ACTOR_BYTES)?;
    r.take(length).map(drop)
}

/// What stands before the columns of a change: dependencies, actor, counters, message, other actors. Gives the counter of its
/// first operation and the number of its actors.
fn heading(r: &mut Reader<'_>) -> Result<(u64, u64), GateError> {
    r.hashes("dependencies", super::MAX_HEADS)?;
    actor(r)?;
    r.number()?;
    let start_op = r.number()?;
    r.signed()?;
    r.prefixed()?;
    Ok((start_op, 1 + actors(r)?))
}

/// The body of a change chunk.
pub(super) fn check_change(body: &[u8], allowance: &mut Allowance) -> Result<(), GateError> {
    let mut r = Reader(body);
    let (start_op, actors) = heading(&mut r)?;
    let columns = column_list(&mut r)?;
    let mut table = Table { actors, most: MAX_OPERATIONS, rows: 0 };
    for (specification, length) in columns {
        let data = r.take(length)?;
        table.column(specification, data, allowance)?;
        if specification == OBJECT_COUNTER {
            check_objects(data, start_op)?;
        }
    }
    table.spend(allowance)
}

/// Whether one of the operations of a change is on a member of this name of some map. Costs what the keys take, however many
/// operations they stand for.
pub(super) fn names_key(body: &[u8], key: &str) -> Result<bool, GateError> {
    let mut r = Reader(body);
    let (_, actors) = heading(&mut r)?;
    let mut named = false;
    for (specification, length) in column_list(&mut r)? {
        let data = r.take(length)?;
        if specification == KEY {
            let mut table = Table { actors, most: MAX_OPERATIONS, rows: 0 };
            table.runs(data, |r, _| {
                named |= r.prefixed()? == key.as_bytes();
                Ok(())
            })?;
        }
    }
    Ok(named)
}

/// An operation is on an object that was made before it. Otherwise two could be made in each other, and who follows their
/// parents never comes to an end.
fn check_objects(counters: &[u8], start_op: u64) -> Result<(), GateError> {
    let mut r = Reader(counters);
    let mut next = start_op;
    while !r.0.is_empty() {
        let run = r.signed()?;
        let (values, rows) = match run {
            0 => (0, r.number()?),
            1.. => (1, run.unsigned_abs()),
            _ => (run.unsigned_abs(), 1),
        };
        for _ in 0..values {
            if r.number()? >= next {
                return Err(GateError::BadChunk);
            }
            next = next.saturating_add(rows);
        }
        if values == 0 {
            next = next.saturating_add(rows);
        }
    }
    Ok(())
}

/// Whether, among the columns of a document's changes, this one names their writers.
pub(super) fn is_change_actor(specification: u64) -> bool {
    specification & !super::DEFLATED_COLUMN == CHANGE_ACTOR
}

pub(super) fn names_every_actor(data: &[u8], actors: u64) -> Result<bool, GateError> {
    let count = usize::try_from(actors).map_err(|_| GateError::BadChunk)?;
    let mut named = vec![false; count];
    let mut table = Table { actors, most: MAX_MESSAGE_OPERATIONS, rows: 0 };
    table.runs(data, |r, _| {
        let actor = usize::try_from(r.number()?).map_err(|_| GateError::BadChunk)?;
        *named.get_mut(actor).ok_or(GateError::BadChunk)? = true;
        Ok(())
    })?;
    Ok(named.iter().all(|named| *named))
}

/// Columns that belong together: one row for each operation, or for each change of a document.
pub(super) struct Table {
    pub(super) actors: u64,
    pub(super) most: u64,
    /// Of the longest column so far.
    pub(super) rows: u64,
}

impl Table {
    pub(super) fn spend(self, allowance: &mut Allowance) -> Result<(), GateError> {
        allowance.operations =
            allowance.operations.checked_sub(self.rows).ok_or(GateError::TooManyOperations)?;
        Ok(())
    }

    /// The lowest three bits of a column's specification say how its data is written.
    pub(super) fn column(
        &mut self,
        specification: u64,
        data: &[u8],
        allowance: &mut Allowance,
    ) -> Result<(), GateError> {
        match specification & 0b111 {
            0 => self.group(data),
            1 => {
                let actors = self.actors;
                self.runs(data, |r, _| match r.number()? < actors {
                    true => Ok(()),
                    false => Err(GateError::BadChunk),
                })
            }
            2 | 6 => self.runs(data, |r, _| r.number().map(drop)),
            3 => self.runs(data, |r, _| r.signed().map(drop)),
            4 => self.booleans(data),
            5 => {
                let mut left = allowance.text;
                let outcome = self.runs(data, |r, times| {
                    let text = r.prefixed()?;
                    let bytes = (text.len() as u64).saturating_mul(times);
                    left = left.checked_sub(bytes).ok_or(GateError::InflatesTooFar)?;
                    Ok(())
                });
                allowance.text = left;
                outcome
            }
            // Bytes that other columns measure.
            _ => Ok(()),
        }
    }

    fn grow(&mut self, rows: u64) -> Result<(), GateError> {
        if rows > self.most {
            return Err(GateError::TooManyOperations);
        }
        self.rows = self.rows.max(rows);
        Ok(())
    }

    /// A run is a count and a value; a negative count stands before so many single values, and 0 before a count of nothings.
    fn runs(
        &mut self,
        data: &[u8],
        mut value: impl FnMut(&mut Reader<'_>, u64) -> Result<(), GateError>,
    ) -> Result<(), GateError> {
        let mut r = Reader(data);
        let mut rows = 0_u64;
        while !r.0.is_empty() {
            let run = r.signed()?;
            let times = match run {
                0 => r.number()?,
                _ => run.unsigned_abs(),
            };
            rows = rows.saturating_add(times);
            if rows > self.most {
                return Err(GateError::TooManyOperations);
            }
            match run {
                0 => {}
                1.. => value(&mut r, times)?,
                _ => (0..times).try_for_each(|_| value(&mut r, 1))?,
            }
        }
        self.grow(rows)
    }

    /// Runs of counts: of each, how many rows of other columns belong to this one.
    fn group(&mut self, data: &[u8]) -> Result<(), GateError> {
        let mut members = 0_u64;
        self.runs(data, |r, times| {
            members = members.saturating_add(r.number()?.saturating_mul(times));
            Ok(())
        })?;
        self.grow(members)
    }

    /// Lengths of runs, of false and true in turn.
    fn booleans(&mut self, data: &[u8]) -> Result<(), GateError> {
        let mut r = Reader(data);
        let mut rows = 0_u64;
        while !r.0.is_empty() {
            rows = rows.saturating_add(r.number()?);
        }
        self.grow(rows)
    }
}
