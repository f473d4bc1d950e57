//! The dashboard of an institute's admin.

use super::{InstituteView, PaymentView, Person, SHORT_LIST, Scene, rate};
use crate::store::{ClassesFigures, InstituteFigures, StoreError};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The span of what was received lately: 30 days.
const RECEIVED_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// `GET /api/admin/dashboard`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdminDashboard {
    institute: InstituteView,
    admin: Person,
    counts: Counts,
    /// Over all classes of today.
    attendance_today: AttendanceToday,
    fees: Fees,
    /// The newest first.
    recent_payments: Vec<PaymentView>,
    documents: Documents,
}

#[derive(Debug, Serialize, ToSchema)]
struct Counts {
    admins: u64,
    teachers: u64,
    students: u64,
    batches: u64,
    classes_today: u64,
    submissions: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct AttendanceToday {
    present: u64,
    absent: u64,
    late: u64,
    excused: u64,
    unmarked: u64,
    conflicts: u64,
    rate: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Fees {
    currency: String,
    /// Still to be received, minor units.
    outstanding: i64,
    /// Received in the last 30 days and today (UTC), refunds taken off, minor units.
    received_30_days: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Documents {
    /// All documents.
    total: u64,
    /// All changes in their logs.
    changes: u64,
    /// Changes of devices that were refused.
    quarantined: u64,
    /// Documents by kind.
    kinds: BTreeMap<String, u64>,
}

pub(super) fn dashboard(scene: &Scene<'_>) -> Result<AdminDashboard, StoreError> {
    let records = scene.records;
    let counts = records.institute_figures()?;
    let (from, until) = scene.time.day(scene.today);
    let ClassesFigures { classes, expected, marks: figures } = records.classes_figures(from, until)?;
    let marked = figures.present + figures.absent + figures.late + figures.excused;
    let payments = records.recent_payments(SHORT_LIST)?.into_iter();
    Ok(AdminDashboard {
        institute: scene.institute_view(),
        admin: scene.person(),
        counts: Counts {
            admins: counts.admins,
            teachers: counts.teachers,
            students: counts.students,
            batches: counts.batches,
            classes_today: classes,
            submissions: counts.submissions,
        },
        attendance_today: AttendanceToday {
            present: figures.present,
            absent: figures.absent,
            late: figures.late,
            excused: figures.excused,
            unmarked: expected.saturating_sub(marked),
            conflicts: figures.conflicts,
            rate: rate(&figures),
        },
        fees: Fees {
            currency: scene.institute.currency.clone(),
            outstanding: counts.outstanding_minor,
            received_30_days: records.received_since_minor(scene.now - RECEIVED_MS)?,
        },
        recent_payments: payments.map(|payment| scene.payment_view(payment)).collect(),
        documents: documents(counts),
    })
}

fn documents(counts: InstituteFigures) -> Documents {
    Documents {
        total: counts.kinds.values().map(|(documents, _)| documents).sum(),
        changes: counts.kinds.values().map(|(_, changes)| changes).sum(),
        quarantined: counts.quarantined,
        kinds: counts.kinds.into_iter().map(|(kind, (documents, _))| (kind, documents)).collect(),
    }
}
