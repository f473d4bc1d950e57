//! Series of classes, each change in one statement, however many classes it is of.

use super::timetable::{CLASS, read_class};
use super::transaction::{Millis, Transaction};
use crate::store::error::StoreError;
use crate::store::series::{ClassTimes, NewSeries, ReadSeries, WriteSeries};
use crate::store::timetable::{ClassChange, ClassRow};

fn columns(classes: &[ClassTimes]) -> (Vec<&str>, Vec<Millis>, Vec<Millis>) {
    let ids = classes.iter().map(|class| class.class.as_str()).collect();
    let starts = classes.iter().map(|class| Millis(class.starts_at)).collect();
    let ends = classes.iter().map(|class| Millis(class.ends_at)).collect();
    (ids, starts, ends)
}

impl ReadSeries for Transaction<'_> {
    fn series_exists(&self, series: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM classes WHERE institute = $1 AND series = $2 LIMIT 1";
        Ok(self.one(sql, &[&self.institute, &series], |_| Ok(()))?.is_some())
    }

    fn series_of(&self, class: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT series FROM classes WHERE institute = $1 AND class = $2 AND series IS NOT NULL";
        self.one(sql, &[&self.institute, &class], |row| row.try_get(0))
    }

    fn following_classes(&self, class: &str) -> Result<Vec<ClassRow>, StoreError> {
        let sql = format!(
            "{CLASS} WHERE c.institute = $1 AND c.cancelled_at IS NULL
                 AND c.series = (SELECT series FROM classes WHERE institute = $1 AND class = $2)
                 AND c.starts_at >= (SELECT starts_at FROM classes WHERE institute = $1 AND class = $2)
             ORDER BY c.starts_at, c.class"
        );
        self.all(&sql, &[&self.institute, &class], read_class)
    }
}

impl WriteSeries for Transaction<'_> {
    fn add_series(&self, new: &NewSeries) -> Result<bool, StoreError> {
        let (ids, starts, ends) = columns(&new.classes);
        let added = self.run(
            "INSERT INTO classes (institute, class, batch, title, room, teacher, starts_at, ends_at, series)
             SELECT $1, new.class, $2, $3, $4, $5, new.starts_at, new.ends_at, $6
             FROM unnest($7::text[], $8::timestamptz[], $9::timestamptz[]) AS new (class, starts_at, ends_at)
             ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &new.batch,
                &new.title,
                &new.room,
                &new.teacher,
                &new.series,
                &ids,
                &starts,
                &ends,
            ],
        )?;
        Ok(added == new.classes.len() as u64)
    }

    fn change_classes(&self, classes: &[ClassTimes], change: &ClassChange) -> Result<(), StoreError> {
        let (ids, starts, ends) = columns(classes);
        self.run(
            "UPDATE classes c SET title = coalesce($2, c.title), room = coalesce($3, c.room),
                 teacher = coalesce($4, c.teacher), starts_at = new.starts_at, ends_at = new.ends_at
             FROM unnest($5::text[], $6::timestamptz[], $7::timestamptz[]) AS new (class, starts_at, ends_at)
             WHERE c.institute = $1 AND c.class = new.class",
            &[&self.institute, &change.title, &change.room, &change.teacher, &ids, &starts, &ends],
        )?;
        Ok(())
    }

    fn cancel_classes(&self, classes: &[ClassTimes], at: i64) -> Result<(), StoreError> {
        let (ids, ..) = columns(classes);
        let sql = "UPDATE classes SET cancelled_at = $3
             WHERE institute = $1 AND class = ANY ($2::text[]) AND cancelled_at IS NULL";
        self.run(sql, &[&self.institute, &ids, &Millis(at)])?;
        Ok(())
    }
}
