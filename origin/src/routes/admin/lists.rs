//! Reading: pages of each collection, and single records.

use super::{NoQuery, Pairs, page, record, with_bookmark};
use crate::app::App;
use crate::routes::error::ApiError;
use crate::routes::extract::{Identity, Seen};
use crate::services::admin::collections::{self, Collection};
use crate::services::admin::shapes::*;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The lists with their collections, from which their parameters are documented.
pub(in crate::routes) static LISTS: [(&str, &Collection); 22] = [
    ("/admin/v1/users", &collections::USERS),
    ("/admin/v1/batches", &collections::BATCHES),
    ("/admin/v1/enrolments", &collections::ENROLMENTS),
    ("/admin/v1/teachings", &collections::TEACHINGS),
    ("/admin/v1/guardians", &collections::GUARDIANS),
    ("/admin/v1/classes", &collections::CLASSES),
    ("/admin/v1/attendance", &collections::ATTENDANCE),
    ("/admin/v1/assignments", &collections::ASSIGNMENTS),
    ("/admin/v1/submissions", &collections::SUBMISSIONS),
    ("/admin/v1/invoices", &collections::INVOICES),
    ("/admin/v1/payments", &collections::PAYMENTS),
    ("/admin/v1/refunds", &collections::REFUNDS),
    ("/admin/v1/payment-events", &collections::PAYMENT_EVENTS),
    ("/admin/v1/messages", &collections::MESSAGES),
    ("/admin/v1/documents", &collections::DOCUMENTS),
    ("/admin/v1/doubts", &collections::DOUBTS),
    ("/admin/v1/quarantine", &collections::QUARANTINE),
    ("/admin/v1/devices", &collections::DEVICES),
    ("/admin/v1/queues/set-aside", &collections::SET_ASIDE),
    ("/admin/v1/sessions", &collections::SESSIONS),
    ("/admin/v1/audit", &collections::AUDIT),
    ("/admin/v1/activities", &collections::ACTIVITIES),
];

pub(in crate::routes) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(read_user))
        .routes(routes!(list_batches))
        .routes(routes!(read_batch))
        .routes(routes!(list_enrolments))
        .routes(routes!(list_teachings))
        .routes(routes!(list_guardians))
        .routes(routes!(list_classes))
        .routes(routes!(read_class))
        .routes(routes!(list_attendance))
        .routes(routes!(list_assignments))
        .routes(routes!(read_assignment))
        .routes(routes!(list_submissions))
        .routes(routes!(read_submission))
        .routes(routes!(list_invoices))
        .routes(routes!(read_invoice))
        .routes(routes!(list_payments))
        .routes(routes!(read_payment))
        .routes(routes!(list_payment_events))
        .routes(routes!(read_payment_event))
        .routes(routes!(list_messages))
        .routes(routes!(read_message))
        .routes(routes!(list_documents))
        .routes(routes!(read_document))
        .routes(routes!(list_quarantine))
        .routes(routes!(list_sessions))
        .routes(routes!(read_session))
        .routes(routes!(list_activities))
        .routes(routes!(list_audit))
        .routes(routes!(read_audit_entry))
        .routes(routes!(read_institute))
        .routes(routes!(search))
        .routes(routes!(list_edges))
}

/// Users.
#[utoipa::path(get, path = "/admin/v1/users", tag = "People", responses((status = 200, description = "A page", body = PageOf<UserRecord>)))]
async fn list_users(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<UserRecord>(&app, &claims.inst, app.admin.list(&claims, &collections::USERS, query, seen).await?)
}

/// A user.
#[utoipa::path(get, path = "/admin/v1/users/{user}", tag = "People", responses((status = 200, description = "The record", body = UserRecord)))]
async fn read_user(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<UserRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::USERS, vec![key], seen).await?,
    )
}

/// Batches.
#[utoipa::path(get, path = "/admin/v1/batches", tag = "Batches", responses((status = 200, description = "A page", body = PageOf<BatchRecord>)))]
async fn list_batches(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<BatchRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::BATCHES, query, seen).await?,
    )
}

/// A batch.
#[utoipa::path(get, path = "/admin/v1/batches/{batch}", tag = "Batches", responses((status = 200, description = "The record", body = BatchRecord)))]
async fn read_batch(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<BatchRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::BATCHES, vec![key], seen).await?,
    )
}

/// Students in batches.
#[utoipa::path(get, path = "/admin/v1/enrolments", tag = "Batches", responses((status = 200, description = "A page", body = PageOf<EnrolmentRecord>)))]
async fn list_enrolments(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<EnrolmentRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::ENROLMENTS, query, seen).await?,
    )
}

/// Teachers of batches.
#[utoipa::path(get, path = "/admin/v1/teachings", tag = "Batches", responses((status = 200, description = "A page", body = PageOf<TeachingRecord>)))]
async fn list_teachings(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<TeachingRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::TEACHINGS, query, seen).await?,
    )
}

/// Guardians of students.
#[utoipa::path(get, path = "/admin/v1/guardians", tag = "People", responses((status = 200, description = "A page", body = PageOf<GuardianshipRecord>)))]
async fn list_guardians(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<GuardianshipRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::GUARDIANS, query, seen).await?,
    )
}

/// Classes.
#[utoipa::path(get, path = "/admin/v1/classes", tag = "Timetable", responses((status = 200, description = "A page", body = PageOf<ClassRecord>)))]
async fn list_classes(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<ClassRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::CLASSES, query, seen).await?,
    )
}

/// A class.
#[utoipa::path(get, path = "/admin/v1/classes/{class}", tag = "Timetable", responses((status = 200, description = "The record", body = ClassRecord)))]
async fn read_class(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<ClassRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::CLASSES, vec![key], seen).await?,
    )
}

/// Attendance, as the merged sheets have it.
#[utoipa::path(get, path = "/admin/v1/attendance", tag = "Timetable", responses((status = 200, description = "A page", body = PageOf<MarkRecord>)))]
async fn list_attendance(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<MarkRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::ATTENDANCE, query, seen).await?,
    )
}

/// Assignments.
#[utoipa::path(get, path = "/admin/v1/assignments", tag = "Coursework", responses((status = 200, description = "A page", body = PageOf<AssignmentRecord>)))]
async fn list_assignments(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<AssignmentRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::ASSIGNMENTS, query, seen).await?,
    )
}

/// An assignment.
#[utoipa::path(get, path = "/admin/v1/assignments/{assignment}", tag = "Coursework", responses((status = 200, description = "The record", body = AssignmentRecord)))]
async fn read_assignment(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<AssignmentRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::ASSIGNMENTS, vec![key], seen).await?,
    )
}

/// Submissions and their grades.
#[utoipa::path(get, path = "/admin/v1/submissions", tag = "Coursework", responses((status = 200, description = "A page", body = PageOf<SubmissionRecord>)))]
async fn list_submissions(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<SubmissionRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::SUBMISSIONS, query, seen).await?,
    )
}

/// A submission with its text.
#[utoipa::path(get, path = "/admin/v1/submissions/{submission}", tag = "Coursework", responses((status = 200, description = "The record", body = SubmissionDetail)))]
async fn read_submission(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<SubmissionDetail>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::SUBMISSIONS, vec![key], seen).await?,
    )
}

/// Invoices.
#[utoipa::path(get, path = "/admin/v1/invoices", tag = "Fees", responses((status = 200, description = "A page", body = PageOf<InvoiceRecord>)))]
async fn list_invoices(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<InvoiceRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::INVOICES, query, seen).await?,
    )
}

/// An invoice.
#[utoipa::path(get, path = "/admin/v1/invoices/{invoice}", tag = "Fees", responses((status = 200, description = "The record", body = InvoiceRecord)))]
async fn read_invoice(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<InvoiceRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::INVOICES, vec![key], seen).await?,
    )
}

/// Payments.
#[utoipa::path(get, path = "/admin/v1/payments", tag = "Fees", responses((status = 200, description = "A page", body = PageOf<PaymentRecord>)))]
async fn list_payments(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<PaymentRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::PAYMENTS, query, seen).await?,
    )
}

/// A payment.
#[utoipa::path(get, path = "/admin/v1/payments/{payment}", tag = "Fees", responses((status = 200, description = "The record", body = PaymentRecord)))]
async fn read_payment(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<PaymentRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::PAYMENTS, vec![key], seen).await?,
    )
}

/// What payment providers told, and what became of it.
#[utoipa::path(get, path = "/admin/v1/payment-events", tag = "Fees", responses((status = 200, description = "A page", body = PageOf<PaymentEventRecord>)))]
async fn list_payment_events(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    let listed = app.admin.list(&claims, &collections::PAYMENT_EVENTS, query, seen).await?;
    page::<PaymentEventRecord>(&app, &claims.inst, listed)
}

/// What a payment provider told, as it was sent.
#[utoipa::path(get, path = "/admin/v1/payment-events/{provider}/{event}", tag = "Fees", responses((status = 200, description = "The record", body = PaymentEventRecord)))]
async fn read_payment_event(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path((provider, event)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let key = vec![provider, event];
    let found = app.admin.read(&claims, &collections::PAYMENT_EVENTS, key, seen).await?;
    record::<PaymentEventRecord>(&app, &claims.inst, found)
}

/// Messages, without what is written in them. The audit log says who asked.
#[utoipa::path(get, path = "/admin/v1/messages", tag = "Messages", responses((status = 200, description = "A page", body = PageOf<MessageRecord>)))]
async fn list_messages(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<MessageRecord>(&app, &claims.inst, app.admin.list_messages(&claims, query, seen).await?)
}

/// A message with its text. The audit log says who read it.
#[utoipa::path(get, path = "/admin/v1/messages/{message}", tag = "Messages", responses((status = 200, description = "The record", body = MessageRecord)))]
async fn read_message(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<MessageRecord>(&app, &claims.inst, app.admin.read_message(&claims, key, seen).await?)
}

/// Shared documents.
#[utoipa::path(get, path = "/admin/v1/documents", tag = "Documents", responses((status = 200, description = "A page", body = PageOf<DocumentRecord>)))]
async fn list_documents(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<DocumentRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::DOCUMENTS, query, seen).await?,
    )
}

/// A document with its heads and its size.
#[utoipa::path(get, path = "/admin/v1/documents/{document}", tag = "Documents", responses((status = 200, description = "The record", body = DocumentDetail)))]
async fn read_document(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<DocumentDetail>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::DOCUMENTS, vec![key], seen).await?,
    )
}

/// Changes that were refused.
#[utoipa::path(get, path = "/admin/v1/quarantine", tag = "Documents", responses((status = 200, description = "A page", body = PageOf<QuarantineRecord>)))]
async fn list_quarantine(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<QuarantineRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::QUARANTINE, query, seen).await?,
    )
}

/// Sign-ins on devices.
#[utoipa::path(get, path = "/admin/v1/sessions", tag = "Devices", responses((status = 200, description = "A page", body = PageOf<SessionRecord>)))]
async fn list_sessions(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<SessionRecord>(
        &app,
        &claims.inst,
        app.admin.list(&claims, &collections::SESSIONS, query, seen).await?,
    )
}

/// A sign-in.
#[utoipa::path(get, path = "/admin/v1/sessions/{session}", tag = "Devices", responses((status = 200, description = "The record", body = SessionRecord)))]
async fn read_session(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<SessionRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::SESSIONS, vec![key], seen).await?,
    )
}

/// The audit log.
#[utoipa::path(get, path = "/admin/v1/audit", tag = "Operation", responses((status = 200, description = "A page", body = PageOf<AuditRecord>)))]
async fn list_audit(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<AuditRecord>(&app, &claims.inst, app.admin.list(&claims, &collections::AUDIT, query, seen).await?)
}

/// An entry of the audit log.
#[utoipa::path(get, path = "/admin/v1/audit/{entry}", tag = "Operation", responses((status = 200, description = "The record", body = AuditRecord)))]
async fn read_audit_entry(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<AuditRecord>(
        &app,
        &claims.inst,
        app.admin.read(&claims, &collections::AUDIT, vec![key], seen).await?,
    )
}

/// What users did with their accounts.
#[utoipa::path(get, path = "/admin/v1/activities", tag = "Operation", responses((status = 200, description = "A page", body = PageOf<ActivityRecord>)))]
async fn list_activities(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    let listed = app.admin.list(&claims, &collections::ACTIVITIES, query, seen).await?;
    page::<ActivityRecord>(&app, &claims.inst, listed)
}

/// The institute itself.
#[utoipa::path(get, path = "/admin/v1/institute", tag = "Operation", responses((status = 200, description = "The record", body = InstituteRecord)))]
async fn read_institute(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    record::<InstituteRecord>(&app, &claims.inst, app.admin.institute(&claims, seen).await?)
}

/// The edges of the institute.
#[derive(Debug, Serialize, ToSchema)]
struct Edges {
    items: Vec<EdgeRecord>,
}

/// Edges: which are connected, and how far their logs are.
#[utoipa::path(get, path = "/admin/v1/edges", tag = "Devices", responses((status = 200, description = "All of them", body = Edges)))]
async fn list_edges(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let connected = app.link.edges_of(&claims.inst);
    let (items, bookmark) = app.admin.edges(&claims, connected, seen).await?;
    Ok(with_bookmark(&app, &claims.inst, Edges { items }, bookmark))
}

/// What a search found, people first.
#[derive(Debug, Serialize, ToSchema)]
struct Hits {
    hits: Vec<Hit>,
}

/// People by the beginnings of their names' words, by address or id; batches and assignments by title or id.
#[utoipa::path(
    get,
    path = "/admin/v1/search",
    tag = "Operation",
    params(("q" = String, Query, min_length = 1, max_length = 100, pattern = "^[^\\x00]*[^\\s\\x00][^\\x00]*$", description = "What is looked for")),
    responses((status = 200, description = "What was found", body = Hits))
)]
async fn search(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    let (hits, bookmark) = app.admin.search(&claims, query, seen).await?;
    Ok(with_bookmark(&app, &claims.inst, Hits { hits }, bookmark))
}
