//! Documents as rows: what an attendance sheet says of each student, and the way back from the log to all rows.

use super::races::retried;
use super::replica::hex_heads;
use super::{DocumentError, DocumentService};
use crate::store::{AttendanceRow, StoreError, WriteTx};
use automerge::Automerge;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use sync_protocol::actor::Binding;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{AttendanceMark, Kind, Remark, Written, attendance_marks, attendance_remarks};
use sync_protocol::link::DocumentRecord;
use sync_protocol::tag;

/// Documents that a rebuilding lists at a time.
const PAGE: u32 = 256;

/// Who wrote one of several concurrent marks, or remarks.
#[derive(Serialize)]
struct Writer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
    actor: &'a str,
    /// Absent for an actor of a time when nobody kept whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
}

type Owners = HashMap<String, Binding>;

impl<'a> Writer<'a> {
    fn of(value: &'a Written, owners: &'a Owners) -> Self {
        let owner = owners.get(&value.actor);
        Self {
            mark: None,
            remark: None,
            actor: &value.actor,
            user: owner.map(|owner| owner.user.as_str()),
            device: owner.map(|owner| owner.device.as_str()),
        }
    }
}

/// What an attendance sheet says, by student.
pub(super) struct Sheet {
    marks: BTreeMap<String, AttendanceMark>,
    remarks: BTreeMap<String, Remark>,
}

impl Sheet {
    /// None of a document of another kind.
    pub(super) fn of(record: &DocumentRecord, doc: &Automerge) -> Option<Self> {
        (record.kind == Kind::Attendance.as_str())
            .then(|| Self { marks: attendance_marks(doc), remarks: attendance_remarks(doc, record.document) })
    }
}

/// Makes the rows of a class what its sheet says; how many were something else. A remark stands beside a mark: one of a student
/// who has none waits in the document until there is one. Rows that came without a sheet stay until
/// the sheet marks the student; rows of a sheet go that this one, the only one of the class, does not have; students who are
/// not of the batch have no row.
pub(super) fn project_attendance(
    tx: &mut WriteTx<'_>,
    record: &DocumentRecord,
    sheet: &Sheet,
) -> Result<usize, StoreError> {
    let class = &record.subject;
    let Some(batch) = &record.batch else { return Ok(0) };
    let document = record.document.to_string();
    let owners = tx.bindings(record.document)?;
    let owners: HashMap<String, Binding> =
        owners.into_iter().map(|binding| (hex::encode(&*binding.actor), binding)).collect();
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

fn differ(values: &[Written]) -> bool {
    values.windows(2).any(|pair| pair[0].text != pair[1].text)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts are always JSON")
}

/// What a rebuilding found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rebuilt {
    pub(crate) documents: usize,
    /// Rows that were not what the log says.
    pub(crate) corrected: usize,
}

impl DocumentService {
    /// Projects every document of the institute anew from its log. Blocks. The origin may serve meanwhile.
    pub(crate) fn rebuild_projections(&self, institute: &str) -> Result<Rebuilt, DocumentError> {
        let mut rebuilt = Rebuilt::default();
        let mut after: Option<DocumentId> = None;
        loop {
            let page = self.store.read_blocking::<_, StoreError>(institute, |records| {
                records.documents_of_kind(Kind::Attendance.as_str(), after, PAGE)
            })?;
            let Some(last) = page.last() else { return Ok(rebuilt) };
            after = Some(last.document);
            for record in page {
                rebuilt.corrected += self.rebuild(institute, &record)?;
                rebuilt.documents += 1;
            }
        }
    }

    fn rebuild(&self, institute: &str, record: &DocumentRecord) -> Result<usize, DocumentError> {
        retried(|| self.rebuild_once(institute, record))
    }

    fn rebuild_once(&self, institute: &str, record: &DocumentRecord) -> Result<usize, DocumentError> {
        let document = record.document;
        let replica = self.replicas.take(&self.store, institute, document)?;
        let (position, heads) = (replica.changes, hex_heads(&replica.doc));
        let (record, sheet) = (record.clone(), Sheet::of(record, &replica.doc));
        self.replicas.put(document, replica);
        let corrected = self.store.write_blocking::<_, DocumentError, _>(institute, move |tx| {
            // Nothing is appended; it fails when somebody else has, or has deleted the document.
            if !tx.append_changes(document, position, &[], &heads)? {
                return Err(DocumentError::Raced(document));
            }
            sheet.map_or(Ok(0), |sheet| Ok(project_attendance(tx, &record, &sheet)?))
        });
        Ok(corrected?.value)
    }
}
