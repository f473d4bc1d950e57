//! Series of classes.

use super::timetable::{CLASS, read_class};
use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::series::{ClassTimes, NewSeries, ReadSeries, WriteSeries};
use crate::store::timetable::{ClassChange, ClassRow};

impl ReadSeries for Transaction<'_> {
    fn series_exists(&self, series: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM classes WHERE institute = ?1 AND series = ?2 LIMIT 1";
        Ok(self.one(sql, (self.institute, series), |_| Ok(()))?.is_some())
    }

    fn series_of(&self, class: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT series FROM classes WHERE institute = ?1 AND class = ?2 AND series IS NOT NULL";
        self.one(sql, (self.institute, class), |row| row.get(0))
    }

    fn following_classes(&self, class: &str) -> Result<Vec<ClassRow>, StoreError> {
        let sql = format!(
            "{CLASS} WHERE c.institute = ?1 AND c.cancelled_at IS NULL
                 AND c.series = (SELECT series FROM classes WHERE institute = ?1 AND class = ?2)
                 AND c.starts_at >= (SELECT starts_at FROM classes WHERE institute = ?1 AND class = ?2)
             ORDER BY c.starts_at, c.class"
        );
        self.all(&sql, (self.institute, class), read_class)
    }
}

impl WriteSeries for Transaction<'_> {
    fn add_series(&self, new: &NewSeries) -> Result<bool, StoreError> {
        let mut added = 0;
        for class in &new.classes {
            added += self.run(
                "INSERT INTO classes (institute, class, batch, title, room, teacher, starts_at, ends_at, series)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
                (
                    self.institute,
                    &class.class,
                    &new.batch,
                    &new.title,
                    &new.room,
                    &new.teacher,
                    class.starts_at,
                    class.ends_at,
                    &new.series,
                ),
            )?;
        }
        Ok(added == new.classes.len())
    }

    fn change_classes(&self, classes: &[ClassTimes], change: &ClassChange) -> Result<(), StoreError> {
        for class in classes {
            self.run(
                "UPDATE classes SET title = coalesce(?3, title), room = coalesce(?4, room),
                     teacher = coalesce(?5, teacher), starts_at = ?6, ends_at = ?7
                 WHERE institute = ?1 AND class = ?2",
                (
                    self.institute,
                    &class.class,
                    &change.title,
                    &change.room,
                    &change.teacher,
                    class.starts_at,
                    class.ends_at,
                ),
            )?;
        }
        Ok(())
    }

    fn cancel_classes(&self, classes: &[ClassTimes], at: i64) -> Result<(), StoreError> {
        for class in classes {
            let sql = "UPDATE classes SET cancelled_at = ?3
                 WHERE institute = ?1 AND class = ?2 AND cancelled_at IS NULL";
            self.run(sql, (self.institute, &class.class, at))?;
        }
        Ok(())
    }
}
