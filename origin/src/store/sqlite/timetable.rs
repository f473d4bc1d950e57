//! Classes and who attended them.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::timetable::{
    AttendanceFigures, AttendanceRow, ClassChange, ClassConflict, ClassRow, MarkedClassRow, NewClass,
    ReadTimetable, WriteTimetable,
};
use crate::store::transaction::to_u64;
use rusqlite::Row;
use std::collections::HashMap;

pub(super) const CLASS: &str =
    "SELECT c.class, c.batch, c.title, c.room, c.teacher, u.name, c.starts_at, c.ends_at
     FROM classes c JOIN users u ON u.user = c.teacher";

const FIGURES: &str = "count(*) FILTER (WHERE mark = 'present'), count(*) FILTER (WHERE mark = 'absent'),
     count(*) FILTER (WHERE mark = 'late'), count(*) FILTER (WHERE mark = 'excused')";

pub(super) fn read_class(row: &Row<'_>) -> rusqlite::Result<ClassRow> {
    Ok(ClassRow {
        class: row.get(0)?,
        batch: row.get(1)?,
        title: row.get(2)?,
        room: row.get(3)?,
        teacher: row.get(4)?,
        teacher_name: row.get(5)?,
        starts_at: row.get(6)?,
        ends_at: row.get(7)?,
    })
}

fn read_figures(row: &Row<'_>) -> rusqlite::Result<AttendanceFigures> {
    Ok(AttendanceFigures {
        present: to_u64(row.get(0)?),
        absent: to_u64(row.get(1)?),
        late: to_u64(row.get(2)?),
        excused: to_u64(row.get(3)?),
        conflicts: 0,
    })
}

fn read_figures_and_conflicts(row: &Row<'_>) -> rusqlite::Result<AttendanceFigures> {
    Ok(AttendanceFigures { conflicts: to_u64(row.get(4)?), ..read_figures(row)? })
}

impl ReadTimetable for Transaction<'_> {
    fn class(&self, class: &str) -> Result<Option<ClassRow>, StoreError> {
        let sql = format!("{CLASS} WHERE c.institute = ?1 AND c.class = ?2");
        self.one(&sql, (self.institute, class), read_class)
    }

    fn is_cancelled(&self, class: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM classes WHERE institute = ?1 AND class = ?2 AND cancelled_at IS NOT NULL";
        Ok(self.one(sql, (self.institute, class), |_| Ok(()))?.is_some())
    }

    fn classes_of(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
        limit: u32,
    ) -> Result<Vec<ClassRow>, StoreError> {
        // One search for each batch, each by its index and bounded by the limit; the first of all are kept.
        let sql = format!(
            "{CLASS} WHERE c.institute = ?1 AND c.batch = ?2 AND c.starts_at >= ?3 AND c.starts_at < ?4 AND c.cancelled_at IS NULL
             ORDER BY c.starts_at, c.class LIMIT ?5"
        );
        let mut classes = Vec::new();
        for batch in batches {
            classes.extend(self.all(&sql, (self.institute, batch, from, until, limit), read_class)?);
        }
        classes.sort_by(|a, b| (a.starts_at, &a.class).cmp(&(b.starts_at, &b.class)));
        classes.truncate(limit as usize);
        Ok(classes)
    }

    fn classes_taught(
        &self,
        teacher: &str,
        from: i64,
        until: i64,
        limit: u32,
    ) -> Result<Vec<ClassRow>, StoreError> {
        let sql = format!(
            "{CLASS} WHERE c.institute = ?1 AND c.teacher = ?2 AND c.starts_at >= ?3 AND c.starts_at < ?4
                 AND c.cancelled_at IS NULL
             ORDER BY c.starts_at, c.class LIMIT ?5"
        );
        self.all(&sql, (self.institute, teacher, from, until, limit), read_class)
    }

    fn figures_of_batches(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
    ) -> Result<AttendanceFigures, StoreError> {
        let sql = format!(
            "SELECT {FIGURES}, count(marks) FROM classes c
             CROSS JOIN attendance a ON a.institute = c.institute AND a.class = c.class
             WHERE c.institute = ?1 AND c.batch = ?2 AND c.starts_at >= ?3 AND c.starts_at < ?4 AND c.cancelled_at IS NULL"
        );
        let mut sum = AttendanceFigures::default();
        for batch in batches {
            let params = (self.institute, batch, from, until);
            sum += self.one(&sql, params, read_figures_and_conflicts)?.unwrap_or_default();
        }
        Ok(sum)
    }

    fn figures_of_classes(
        &self,
        classes: &[String],
    ) -> Result<HashMap<String, AttendanceFigures>, StoreError> {
        let sql =
            format!("SELECT {FIGURES}, count(marks) FROM attendance WHERE institute = ?1 AND class = ?2");
        let mut found = HashMap::new();
        for class in classes {
            let figures = self.one(&sql, (self.institute, class), read_figures_and_conflicts)?;
            let some = figures.filter(|figures| *figures != AttendanceFigures::default());
            found.extend(some.map(|figures| (class.clone(), figures)));
        }
        Ok(found)
    }

    fn student_figures(&self, student: &str) -> Result<AttendanceFigures, StoreError> {
        let sql = format!("SELECT {FIGURES} FROM attendance WHERE institute = ?1 AND student = ?2");
        Ok(self.one(&sql, (self.institute, student), read_figures)?.unwrap_or_default())
    }

    fn mark_of(&self, class: &str, student: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT mark FROM attendance WHERE institute = ?1 AND class = ?2 AND student = ?3";
        self.one(sql, (self.institute, class, student), |row| row.get(0))
    }

    fn marked_classes(&self, student: &str, limit: u32) -> Result<Vec<MarkedClassRow>, StoreError> {
        self.all(
            "SELECT c.class, c.batch, c.title, c.room, c.teacher, u.name, c.starts_at, c.ends_at, a.mark, a.remark
             FROM attendance a INDEXED BY attendance_by_student
             CROSS JOIN classes c ON c.institute = a.institute AND c.class = a.class
             JOIN users u ON u.user = c.teacher
             WHERE a.institute = ?1 AND a.student = ?2 ORDER BY c.starts_at DESC, c.class LIMIT ?3",
            (self.institute, student, limit),
            |row| {
                Ok(MarkedClassRow { class: read_class(row)?, mark: row.get(8)?, remark: row.get(9)? })
            },
        )
    }

    fn conflicts_of_classes(&self, classes: &[String]) -> Result<Vec<ClassConflict>, StoreError> {
        let sql = "SELECT a.student, u.name, a.marks FROM attendance a JOIN users u ON u.user = a.student
             WHERE a.institute = ?1 AND a.class = ?2 AND a.marks IS NOT NULL";
        let mut conflicts = Vec::new();
        for class in classes {
            conflicts.extend(self.all(sql, (self.institute, class), |row| {
                let (student, name, marks) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(ClassConflict { class: class.clone(), student, name, marks })
            })?);
        }
        conflicts.sort_by(|a, b| (&a.name, &a.student).cmp(&(&b.name, &b.student)));
        Ok(conflicts)
    }

    fn attendance(&self, class: &str) -> Result<Vec<AttendanceRow>, StoreError> {
        self.all(
            "SELECT student, mark, marks, document, heads, writers, remark, remark_writers FROM attendance WHERE institute = ?1 AND class = ?2
             ORDER BY student",
            (self.institute, class),
            |row| {
                Ok(AttendanceRow {
                    student: row.get(0)?,
                    mark: row.get(1)?,
                    marks: row.get(2)?,
                    document: row.get(3)?,
                    heads: row.get(4)?,
                    writers: row.get(5)?,
                    remark: row.get(6)?,
                    remark_writers: row.get(7)?,
                })
            },
        )
    }
}

impl Transaction<'_> {
    /// A student's mark in a class, and whether it is one of several.
    fn marked(&self, class: &str, student: &str) -> Result<Option<(String, bool)>, StoreError> {
        let sql = "SELECT mark, marks IS NOT NULL FROM attendance
             WHERE institute = ?1 AND class = ?2 AND student = ?3";
        self.one(sql, (self.institute, class, student), |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

impl WriteTimetable for Transaction<'_> {
    fn add_class(&self, class: &NewClass) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO classes (institute, class, batch, title, room, teacher, starts_at, ends_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            (
                self.institute,
                &class.class,
                &class.batch,
                &class.title,
                &class.room,
                &class.teacher,
                class.starts_at,
                class.ends_at,
            ),
        )?;
        Ok(added > 0)
    }

    fn move_class(
        &self,
        class: &str,
        starts_at: i64,
        ends_at: i64,
        room: Option<&str>,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE classes SET starts_at = ?3, ends_at = ?4, room = coalesce(?5, room)
             WHERE institute = ?1 AND class = ?2",
            (self.institute, class, starts_at, ends_at, room),
        )?;
        Ok(())
    }

    fn change_class(&self, class: &str, change: &ClassChange) -> Result<(), StoreError> {
        self.run(
            "UPDATE classes SET title = coalesce(?3, title), room = coalesce(?4, room),
                 teacher = coalesce(?5, teacher), starts_at = coalesce(?6, starts_at), ends_at = coalesce(?7, ends_at)
             WHERE institute = ?1 AND class = ?2",
            (
                self.institute,
                class,
                &change.title,
                &change.room,
                &change.teacher,
                change.times.map(|times| times.0),
                change.times.map(|times| times.1),
            ),
        )?;
        Ok(())
    }

    fn cancel_class(&self, class: &str, at: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE classes SET cancelled_at = ?3
             WHERE institute = ?1 AND class = ?2 AND cancelled_at IS NULL";
        Ok(self.run(sql, (self.institute, class, at))? > 0)
    }

    fn put_attendance(&self, class: &str, row: &AttendanceRow) -> Result<(), StoreError> {
        let before = self.marked(class, &row.student)?;
        self.run(
            "INSERT INTO attendance (institute, class, student, mark, marks, document, heads, writers,
                                     remark, remark_writers)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (institute, class, student) DO UPDATE
             SET mark = excluded.mark, marks = excluded.marks, document = excluded.document,
                 heads = excluded.heads, writers = excluded.writers,
                 remark = excluded.remark, remark_writers = excluded.remark_writers",
            (
                self.institute,
                class,
                &row.student,
                &row.mark,
                &row.marks,
                &row.document,
                &row.heads,
                &row.writers,
                &row.remark,
                &row.remark_writers,
            ),
        )?;
        let before = before.as_ref().map(|(mark, several)| (mark.as_str(), *several));
        self.figures.mark(class, before, Some((&row.mark, row.marks.is_some())));
        Ok(())
    }

    fn remove_attendance(&self, class: &str, student: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM attendance WHERE institute = ?1 AND class = ?2 AND student = ?3";
        let before = self.marked(class, student)?;
        self.run(sql, (self.institute, class, student))?;
        self.figures.mark(class, before.as_ref().map(|(mark, several)| (mark.as_str(), *several)), None);
        Ok(())
    }
}
