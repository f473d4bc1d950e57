//! Results: columns `email,assignment,score,max`. Students and assignments must be there.

use super::table::Table;
use super::{Faults, ImportError, Record};

/// Highest full score.
const MAX_SCORE: f64 = 1_000_000.0;

pub(super) const COLUMNS: [&str; 4] = ["email", "assignment", "score", "max"];

pub(super) fn read(table: Option<Table>, faults: &mut Faults) -> Result<Vec<(Record, String)>, ImportError> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    table.each(faults, |row, faults| {
        let email = row.email("email", faults);
        let assignment = row.id("assignment", faults);
        let max_score = row.number("max", 0.0..=MAX_SCORE, faults);
        let score = row.number("score", 0.0..=max_score.unwrap_or(MAX_SCORE), faults);
        if let (Some(email), Some(assignment), Some(score), Some(max_score)) =
            (email, assignment, score, max_score)
        {
            let result = Record::Result { assignment, email, score, max_score };
            records.push((result, row.place.clone()));
        }
    })?;
    Ok(records)
}
