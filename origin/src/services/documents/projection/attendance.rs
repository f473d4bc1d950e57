//! Attendance sheets as rows: the mark of each student, and what was noted beside it.

use super::{Owners, Writer, differ, json, owners_of};
use crate::store::{AttendanceRow, StoreError, WriteTx};
use automerge::Automerge;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use sync_protocol::kind::{AttendanceMark, Remark, Written, attendance_marks, attendance_remarks};
use sync_protocol::link::DocumentRecord;
use sync_protocol::tag;

/// What an attendance sheet says, by student.
pub(in crate::services::documents) struct Sheet {
    marks: BTreeMap<String, AttendanceMark>,
    remarks: BTreeMap<String, Remark>,
}

impl Sheet {
    pub(super) fn of(record: &DocumentRecord, doc: &Automerge) -> Self {
        Self { marks: attendance_marks(doc), remarks: attendance_remarks(doc, record.document) }
    }
}

/// Makes the rows of a class what its sheet says; how many were something else. A remark stands beside a mark: one of a student
/// who has none waits in the document until there is one. Rows that came without a sheet stay until
/// the sheet marks the student; rows of a sheet go that this one, the only one of the class, does not have; students who are
/// not of the batch have no row.
pub(super) fn project(
    tx: &mut WriteTx<'_>,
    record: &DocumentRecord,
    sheet: &Sheet,
) -> Result<usize, StoreError> {
    let class = &record.subject;
    let Some(batch) = &record.batch else { return Ok(0) };
    let document = record.document.to_string();
    let owners = owners_of(tx, record.document)?;
    let before: HashMap<String, AttendanceRow> =
        tx.attendance(class)?.into_iter().map(|row| (row.student.clone(), row)).collect();
    let mut changed = BTreeSet::new();
    for (student, mark) in &sheet.marks {
        let row = row_of(student, (mark, sheet.remarks.get(student)), &document, &owners);
        if before.get(student) != Some(&row) && tx.studies(student, batch)? {
            tx.put_attendance(class, &row)?;
            changed.insert(student);
        }
    }
    for (student, row) in &before {
        if row.document.is_some() && !sheet.marks.contains_key(student) {
            tx.remove_attendance(class, student)?;
            changed.insert(student);
        }
    }
    if !changed.is_empty() {
        tx.touch(tag::batch(batch));
    }
    for student in &changed {
        tx.touch(tag::user(student));
    }
    Ok(changed.len())
}

fn row_of(
    student: &str,
    (mark, remark): (&AttendanceMark, Option<&Remark>),
    document: &str,
    owners: &Owners,
) -> AttendanceRow {
    let noted: &[Written] = remark.map_or(&[], |remark| &remark.values);
    let values: Vec<&str> = mark.values.iter().map(|value| value.text.as_str()).collect();
    let heads: BTreeSet<&str> = mark.values.iter().chain(noted).map(|value| value.change.as_str()).collect();
    let writers =
        mark.values.iter().map(|value| Writer { mark: Some(&value.text), ..Writer::of(value, owners) });
    let remarked =
        noted.iter().map(|value| Writer { remark: Some(&value.text), ..Writer::of(value, owners) });
    AttendanceRow {
        student: student.to_owned(),
        mark: mark.mark.clone(),
        marks: differ(&mark.values).then(|| json(&values)),
        document: Some(document.to_owned()),
        heads: Some(json(&heads)),
        writers: differ(&mark.values).then(|| json(&writers.collect::<Vec<_>>())),
        remark: remark.map(|remark| remark.text.clone()),
        remark_writers: differ(noted).then(|| json(&remarked.collect::<Vec<_>>())),
    }
}
