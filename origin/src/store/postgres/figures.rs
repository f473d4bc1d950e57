//! Figures of a whole institute.

use super::transaction::{Answer, Millis, Transaction};
use crate::store::error::StoreError;
use crate::store::figures::{ClassesFigures, Deltas, Figure, InstituteFigures, Marks, ReadFigures, day_of};
use tokio::try_join;

const ADD: &str = "INSERT INTO figures AS kept (institute, figure, part, value)
     SELECT $1, figure, part, value FROM unnest($2::text[], $3::text[], $4::bigint[]) AS new (figure, part, value)
     ON CONFLICT (institute, figure, part) DO UPDATE SET value = kept.value + excluded.value";

const ADD_MARKS: &str =
    "INSERT INTO class_figures AS kept (institute, class, present, absent, late, excused, conflicts)
     SELECT $1, new.* FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) AS new
     ON CONFLICT (institute, class) DO UPDATE SET
         present = kept.present + excluded.present, absent = kept.absent + excluded.absent,
         late = kept.late + excluded.late, excused = kept.excused + excluded.excused,
         conflicts = kept.conflicts + excluded.conflicts";

impl Transaction<'_> {
    /// Writes what figures change by; asks nothing when that is nothing.
    pub(super) async fn ask_add_figures(&self, deltas: &Deltas) -> Answer<()> {
        let institute = async {
            if deltas.institute.is_empty() {
                return Ok(0);
            }
            let figures: Vec<&str> = deltas.institute.keys().map(|(figure, _)| figure.as_str()).collect();
            let parts: Vec<&str> = deltas.institute.keys().map(|(_, part)| part.as_str()).collect();
            let values: Vec<i64> = deltas.institute.values().copied().collect();
            self.ask_run(ADD, &[&self.institute, &figures, &parts, &values]).await
        };
        let classes = async {
            if deltas.classes.is_empty() {
                return Ok(0);
            }
            let classes: Vec<&str> = deltas.classes.keys().map(String::as_str).collect();
            let column =
                |at: usize| deltas.classes.values().map(|marks: &Marks| marks[at]).collect::<Vec<i64>>();
            let columns = [0, 1, 2, 3, 4].map(column);
            let [present, absent, late, excused, conflicts] = &columns;
            let params: super::transaction::Params<'_> =
                &[&self.institute, &classes, present, absent, late, excused, conflicts];
            self.ask_run(ADD_MARKS, params).await
        };
        try_join!(biased; institute, classes).map(|_| ())
    }
}

impl ReadFigures for Transaction<'_> {
    fn institute_figures(&self) -> Result<InstituteFigures, StoreError> {
        let sql = "SELECT figure, part, value FROM figures WHERE institute = $1 AND figure = ANY ($2)";
        let rows = self.all(sql, &[&self.institute, &Figure::few()], |row| {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
        })?;
        Ok(InstituteFigures::of_rows(rows))
    }

    fn received_since_minor(&self, since: i64) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(sum(value), 0)::bigint FROM figures
             WHERE institute = $1 AND figure = $2 AND part >= $3";
        let params = (Figure::Received.as_str(), day_of(since));
        let sum = self.one(sql, &[&self.institute, &params.0, &params.1], |row| row.try_get(0))?;
        Ok(sum.unwrap_or(0))
    }

    fn enrolled(&self, batch: &str) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM figures WHERE institute = $1 AND figure = $2 AND part = $3";
        self.number(sql, &[&self.institute, &Figure::Enrolled.as_str(), &batch])
    }

    fn classes_figures(&self, from: i64, until: i64) -> Result<ClassesFigures, StoreError> {
        // One search for each class: a join would be free to read the figures of all classes that ever were.
        let figures = self.one(
            "SELECT count(*), coalesce(sum(e.value), 0)::bigint, coalesce(sum(m.present), 0)::bigint,
                 coalesce(sum(m.absent), 0)::bigint, coalesce(sum(m.late), 0)::bigint,
                 coalesce(sum(m.excused), 0)::bigint, coalesce(sum(m.conflicts), 0)::bigint
             FROM classes c
             LEFT JOIN LATERAL (
                 SELECT value FROM figures WHERE institute = $1 AND figure = $4 AND part = c.batch LIMIT 1) e ON true
             LEFT JOIN LATERAL (
                 SELECT * FROM class_figures WHERE institute = $1 AND class = c.class LIMIT 1) m ON true
             WHERE c.institute = $1 AND c.starts_at >= $2 AND c.starts_at < $3 AND c.cancelled_at IS NULL",
            &[&self.institute, &Millis(from), &Millis(until), &Figure::Enrolled.as_str()],
            |row| Ok(ClassesFigures::of([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?])),
        )?;
        Ok(figures.unwrap_or_default())
    }
}
