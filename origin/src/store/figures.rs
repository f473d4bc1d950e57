//! Figures of a whole institute, which are kept with what they count.
//!
//! An operation that adds, changes or removes what is counted says so to [`Gathered`]; what all of a transaction's operations
//! come to is written once, when it commits: an import of thousands of rows changes a figure once. The views `counted_figures` and
//! `counted_class_figures` say what the figures are when they are counted anew, and tests compare.

use super::error::StoreError;
use super::timetable::AttendanceFigures;
use super::transaction::to_u64;
use std::cell::RefCell;
use std::collections::BTreeMap;
use sync_protocol::token::Role;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What is counted of an institute, each with the part of it that a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    Batches,
    /// Changes in the logs of documents, by kind.
    Changes,
    /// By kind; a document counts until it is deleted or its history is cut.
    Documents,
    /// Students by batch.
    Enrolled,
    /// Minor units that students owe.
    Outstanding,
    /// Refused changes that nobody has settled.
    Quarantined,
    /// Minor units by day: payments less refunds.
    Received,
    Submissions,
    /// By role, deactivated or not.
    Users,
}

impl Figure {
    /// Those that are read together: of a few rows each, however large the institute is.
    const FEW: [Figure; 7] = [
        Figure::Batches,
        Figure::Changes,
        Figure::Documents,
        Figure::Outstanding,
        Figure::Quarantined,
        Figure::Submissions,
        Figure::Users,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Figure::Batches => "batches",
            Figure::Changes => "changes",
            Figure::Documents => "documents",
            Figure::Enrolled => "enrolled",
            Figure::Outstanding => "outstanding",
            Figure::Quarantined => "quarantined",
            Figure::Received => "received",
            Figure::Submissions => "submissions",
            Figure::Users => "users",
        }
    }

    /// The names of [`Figure::FEW`].
    pub(super) fn few() -> Vec<&'static str> {
        Self::FEW.iter().map(|figure| figure.as_str()).collect()
    }
}

/// The part of [`Figure::Received`] that a moment belongs to: its day, UTC, in the order of days.
pub(super) fn day_of(at: i64) -> String {
    format!("{:06}", at.div_euclid(DAY_MS))
}

/// Numbers of a whole institute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InstituteFigures {
    pub(crate) admins: u64,
    pub(crate) teachers: u64,
    pub(crate) students: u64,
    pub(crate) batches: u64,
    pub(crate) submissions: u64,
    /// What students owe, minor units.
    pub(crate) outstanding_minor: i64,
    /// Documents and the changes in their logs, by kind. A document counts until its history is cut; its successor counts then.
    pub(crate) kinds: BTreeMap<String, (u64, u64)>,
    /// Refused changes that nobody has settled.
    pub(crate) quarantined: u64,
}

impl InstituteFigures {
    /// Of rows of the table: figure, part and value.
    pub(super) fn of_rows(rows: Vec<(String, String, i64)>) -> Self {
        let mut figures = Self::default();
        for (figure, part, value) in rows {
            let Some(figure) = Figure::FEW.into_iter().find(|known| known.as_str() == figure) else {
                continue;
            };
            match figure {
                Figure::Batches => figures.batches = to_u64(value),
                Figure::Submissions => figures.submissions = to_u64(value),
                Figure::Outstanding => figures.outstanding_minor = value,
                Figure::Quarantined => figures.quarantined = to_u64(value),
                Figure::Documents => figures.kinds.entry(part).or_default().0 = to_u64(value),
                Figure::Changes => figures.kinds.entry(part).or_default().1 = to_u64(value),
                Figure::Users if part == Role::Admin.as_str() => figures.admins = to_u64(value),
                Figure::Users if part == Role::Teacher.as_str() => figures.teachers = to_u64(value),
                Figure::Users if part == Role::Student.as_str() => figures.students = to_u64(value),
                Figure::Users | Figure::Enrolled | Figure::Received => {}
            }
        }
        // A kind of which there was something once.
        figures.kinds.retain(|_, (documents, _)| *documents > 0);
        figures
    }
}

/// The classes of a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClassesFigures {
    pub(crate) classes: u64,
    /// Students in the batches of the classes, one for each class.
    pub(crate) expected: u64,
    pub(crate) marks: AttendanceFigures,
}

impl ClassesFigures {
    /// Of a row: classes, who is expected, and how many are present, absent, late, excused and in conflict.
    pub(super) fn of(row: [i64; 7]) -> Self {
        let [classes, expected, present, absent, late, excused, conflicts] = row.map(to_u64);
        Self { classes, expected, marks: AttendanceFigures { present, absent, late, excused, conflicts } }
    }
}

pub(crate) trait ReadFigures {
    fn institute_figures(&self) -> Result<InstituteFigures, StoreError>;

    /// What the whole institute received since the day (UTC) of a moment, refunds taken off.
    fn received_since_minor(&self, since: i64) -> Result<i64, StoreError>;

    /// How many students a batch has.
    fn enrolled(&self, batch: &str) -> Result<u64, StoreError>;

    /// The institute's classes that start in the span and were not cancelled: their number, who is expected, and the marks. Costs
    /// as much as there are such classes.
    fn classes_figures(&self, from: i64, until: i64) -> Result<ClassesFigures, StoreError>;
}

/// A change of the marks of one class: present, absent, late, excused, conflicts.
pub(super) type Marks = [i64; 5];

/// By how much figures change.
#[derive(Debug, Clone, Default)]
pub(super) struct Deltas {
    pub(super) institute: BTreeMap<(Figure, String), i64>,
    pub(super) classes: BTreeMap<String, Marks>,
}

impl Deltas {
    pub(super) fn is_empty(&self) -> bool {
        self.institute.is_empty() && self.classes.is_empty()
    }
}

/// What the operations of one transaction so far have changed of the figures.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    deltas: RefCell<Deltas>,
    /// As they were at each savepoint that holds.
    savepoints: RefCell<Vec<Deltas>>,
}

impl Gathered {
    pub(super) fn add(&self, figure: Figure, part: &str, by: i64) {
        if by != 0 {
            *self.deltas.borrow_mut().institute.entry((figure, part.to_owned())).or_default() += by;
        }
    }

    /// Another mark of a student in a class; none before or after. A mark comes with whether it is one of several.
    pub(super) fn mark(&self, class: &str, before: Option<(&str, bool)>, after: Option<(&str, bool)>) {
        if before == after {
            return;
        }
        let mut deltas = self.deltas.borrow_mut();
        let marks = deltas.classes.entry(class.to_owned()).or_default();
        for (mark, by) in [(before, -1), (after, 1)] {
            let Some((mark, conflict)) = mark else { continue };
            let known = ["present", "absent", "late", "excused"].iter().position(|known| *known == mark);
            // The tables take no other mark.
            if let Some(at) = known {
                marks[at] += by;
            }
            marks[4] += by * i64::from(conflict);
        }
    }

    pub(super) fn savepoint(&self) {
        let now = self.deltas.borrow().clone();
        self.savepoints.borrow_mut().push(now);
    }

    pub(super) fn undo_savepoint(&self) {
        if let Some(then) = self.savepoints.borrow().last() {
            *self.deltas.borrow_mut() = then.clone();
        }
    }

    pub(super) fn release_savepoint(&self) {
        self.savepoints.borrow_mut().pop();
    }

    /// What is to be written; nothing is left. What came to nothing is not among it.
    pub(super) fn take(&self) -> Deltas {
        let mut deltas = self.deltas.take();
        deltas.institute.retain(|_, by| *by != 0);
        deltas.classes.retain(|_, marks| *marks != Marks::default());
        deltas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_is_not_written_and_what_comes_to_nothing_neither() {
        let gathered = Gathered::default();
        gathered.add(Figure::Batches, "", 1);
        gathered.savepoint();
        gathered.add(Figure::Batches, "", 5);
        gathered.mark("c", None, Some(("late", true)));
        gathered.savepoint();
        gathered.add(Figure::Users, "admin", 1);
        gathered.undo_savepoint();
        gathered.release_savepoint();
        gathered.undo_savepoint();
        gathered.release_savepoint();
        gathered.add(Figure::Submissions, "", 2);
        gathered.add(Figure::Submissions, "", -2);
        gathered.mark("d", Some(("present", false)), Some(("late", true)));
        gathered.mark("e", Some(("late", false)), Some(("late", false)));
        let Deltas { institute, classes } = gathered.take();
        assert_eq!(institute, [((Figure::Batches, String::new()), 1)].into());
        assert_eq!(classes, [("d".to_owned(), [-1, 0, 1, 0, 1])].into());
        assert!(gathered.take().institute.is_empty());
    }

    #[test]
    fn days_are_in_the_order_of_their_texts() {
        assert_eq!(day_of(0), "000000");
        assert_eq!(day_of(DAY_MS * 20_784 - 1), "020783");
        assert!(day_of(DAY_MS * 9_999) < day_of(DAY_MS * 10_000));
    }
}
