//! Classes and who attended them.

use super::error::StoreError;
use std::collections::HashMap;
use std::ops::AddAssign;

/// A class on the timetable.
#[derive(Debug, Clone)]
pub(crate) struct ClassRow {
    pub(crate) class: String,
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) room: String,
    /// User id.
    pub(crate) teacher: String,
    pub(crate) teacher_name: String,
    pub(crate) starts_at: i64,
    pub(crate) ends_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct NewClass {
    pub(crate) class: String,
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) room: String,
    pub(crate) teacher: String,
    pub(crate) starts_at: i64,
    pub(crate) ends_at: i64,
}

/// What changes of a class; what is absent stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClassChange {
    pub(crate) title: Option<String>,
    pub(crate) room: Option<String>,
    pub(crate) teacher: Option<String>,
    /// Begin and end.
    pub(crate) times: Option<(i64, i64)>,
}

/// One student's mark in one class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttendanceRow {
    pub(crate) student: String,
    pub(crate) mark: String,
    /// All concurrent values as JSON when there are several, the shown one last.
    pub(crate) marks: Option<String>,
    pub(crate) document: Option<String>,
    /// The changes of the document that the row comes from, as a JSON array of hex hashes.
    pub(crate) heads: Option<String>,
    /// Who wrote which of several concurrent values, as a JSON array.
    pub(crate) writers: Option<String>,
    /// What was noted beside the mark.
    pub(crate) remark: Option<String>,
    /// Who noted which of several concurrent remarks, as a JSON array, when they differ.
    pub(crate) remark_writers: Option<String>,
}

impl AttendanceRow {
    /// A mark that no sheet says.
    pub(crate) fn without_sheet(student: String, mark: String) -> Self {
        let (marks, document, heads, writers, remark, remark_writers) = (None, None, None, None, None, None);
        Self { student, mark, marks, document, heads, writers, remark, remark_writers }
    }
}

/// A class in which a student has a mark.
#[derive(Debug, Clone)]
pub(crate) struct MarkedClassRow {
    pub(crate) class: ClassRow,
    pub(crate) mark: String,
    pub(crate) remark: Option<String>,
}

/// How many students have each mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AttendanceFigures {
    pub(crate) present: u64,
    pub(crate) absent: u64,
    pub(crate) late: u64,
    pub(crate) excused: u64,
    pub(crate) conflicts: u64,
}

impl AddAssign for AttendanceFigures {
    fn add_assign(&mut self, more: Self) {
        self.present += more.present;
        self.absent += more.absent;
        self.late += more.late;
        self.excused += more.excused;
        self.conflicts += more.conflicts;
    }
}

/// A student whom several people marked differently at the same time.
#[derive(Debug, Clone)]
pub(crate) struct ClassConflict {
    pub(crate) class: String,
    pub(crate) student: String,
    pub(crate) name: String,
    /// JSON array.
    pub(crate) marks: String,
}

/// A class that was cancelled is found by its id alone, and by its marks.
pub(crate) trait ReadTimetable {
    fn class(&self, class: &str) -> Result<Option<ClassRow>, StoreError>;

    fn is_cancelled(&self, class: &str) -> Result<bool, StoreError>;

    /// Classes of all these batches that start in the given span, in order, the first `limit` of them.
    fn classes_of(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
        limit: u32,
    ) -> Result<Vec<ClassRow>, StoreError>;

    /// Classes that name the user as their teacher, whatever their batch, that start in the given span, in order, the first
    /// `limit` of them.
    fn classes_taught(
        &self,
        teacher: &str,
        from: i64,
        until: i64,
        limit: u32,
    ) -> Result<Vec<ClassRow>, StoreError>;

    /// Marks of all these batches' classes in the given span.
    fn figures_of_batches(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
    ) -> Result<AttendanceFigures, StoreError>;

    /// Marks in each of these classes that has some.
    fn figures_of_classes(
        &self,
        classes: &[String],
    ) -> Result<HashMap<String, AttendanceFigures>, StoreError>;

    /// How often a student has each mark, in all classes.
    fn student_figures(&self, student: &str) -> Result<AttendanceFigures, StoreError>;

    /// A student's mark in one class.
    fn mark_of(&self, class: &str, student: &str) -> Result<Option<String>, StoreError>;

    /// The classes in which a student has a mark, with it, the newest first.
    fn marked_classes(&self, student: &str, limit: u32) -> Result<Vec<MarkedClassRow>, StoreError>;

    /// Of all these classes, by the students' names.
    fn conflicts_of_classes(&self, classes: &[String]) -> Result<Vec<ClassConflict>, StoreError>;

    fn attendance(&self, class: &str) -> Result<Vec<AttendanceRow>, StoreError>;
}

pub(crate) trait WriteTimetable {
    fn add_class(&self, class: &NewClass) -> Result<bool, StoreError>;

    /// Moves a class; an absent room stays as it is.
    fn move_class(
        &self,
        class: &str,
        starts_at: i64,
        ends_at: i64,
        room: Option<&str>,
    ) -> Result<(), StoreError>;

    fn change_class(&self, class: &str, change: &ClassChange) -> Result<(), StoreError>;

    /// Takes a class off all timetables; whether it was on them.
    fn cancel_class(&self, class: &str, at: i64) -> Result<bool, StoreError>;

    fn put_attendance(&self, class: &str, row: &AttendanceRow) -> Result<(), StoreError>;

    fn remove_attendance(&self, class: &str, student: &str) -> Result<(), StoreError>;
}
