//! Figures of a whole institute.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::figures::{ClassesFigures, Deltas, Figure, InstituteFigures, ReadFigures, day_of};
use crate::store::transaction::to_u64;

impl Transaction<'_> {
    /// Writes what figures change by.
    pub(super) fn add_figures(&self, deltas: &Deltas) -> Result<(), StoreError> {
        for ((figure, part), by) in &deltas.institute {
            self.run(
                "INSERT INTO figures (institute, figure, part, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (institute, figure, part) DO UPDATE SET value = value + excluded.value",
                (self.institute, figure.as_str(), part, by),
            )?;
        }
        for (class, [present, absent, late, excused, conflicts]) in &deltas.classes {
            self.run(
                "INSERT INTO class_figures (institute, class, present, absent, late, excused, conflicts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (institute, class) DO UPDATE SET
                     present = present + excluded.present, absent = absent + excluded.absent,
                     late = late + excluded.late, excused = excused + excluded.excused,
                     conflicts = conflicts + excluded.conflicts",
                (self.institute, class, present, absent, late, excused, conflicts),
            )?;
        }
        Ok(())
    }
}

impl ReadFigures for Transaction<'_> {
    fn institute_figures(&self) -> Result<InstituteFigures, StoreError> {
        let sql = "SELECT part, value FROM figures WHERE institute = ?1 AND figure = ?2";
        let mut rows = Vec::new();
        for figure in Figure::few() {
            rows.extend(self.all(sql, (self.institute, figure), |row| {
                Ok((figure.to_owned(), row.get(0)?, row.get(1)?))
            })?);
        }
        Ok(InstituteFigures::of_rows(rows))
    }

    fn received_since_minor(&self, since: i64) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(sum(value), 0) FROM figures
             WHERE institute = ?1 AND figure = ?2 AND part >= ?3";
        let params = (self.institute, Figure::Received.as_str(), day_of(since));
        Ok(self.one(sql, params, |row| row.get(0))?.unwrap_or(0))
    }

    fn enrolled(&self, batch: &str) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM figures WHERE institute = ?1 AND figure = ?2 AND part = ?3";
        let params = (self.institute, Figure::Enrolled.as_str(), batch);
        Ok(self.one(sql, params, |row| row.get(0))?.map_or(0, to_u64))
    }

    fn classes_figures(&self, from: i64, until: i64) -> Result<ClassesFigures, StoreError> {
        let figures = self.one(
            "SELECT count(*), coalesce(sum(e.value), 0), coalesce(sum(m.present), 0),
                 coalesce(sum(m.absent), 0), coalesce(sum(m.late), 0), coalesce(sum(m.excused), 0),
                 coalesce(sum(m.conflicts), 0)
             FROM classes c INDEXED BY classes_by_time
             LEFT JOIN figures e ON e.institute = c.institute AND e.figure = ?4 AND e.part = c.batch
             LEFT JOIN class_figures m ON m.institute = c.institute AND m.class = c.class
             WHERE c.institute = ?1 AND c.starts_at >= ?2 AND c.starts_at < ?3 AND c.cancelled_at IS NULL",
            (self.institute, from, until, Figure::Enrolled.as_str()),
            |row| {
                Ok(ClassesFigures::of([
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                ]))
            },
        )?;
        Ok(figures.unwrap_or_default())
    }
}
