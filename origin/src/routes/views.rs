//! The views, with the headers that let edges keep them.

use super::error::ApiError;
use super::extract::{Day, Identity, Seen, Student, StudentDay};
use crate::app::App;
use crate::services::admin::orders::{Day as DayShape, Id as IdShape};
use crate::services::cache::Served;
use crate::services::views::{
    AdminDashboard, AdminFees, Attendance, Grades, GuardianDashboard, Roster, Schedule, StudentDashboard,
    StudentFees, TeacherDashboard,
};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::tag::TAGS_HEADER;

/// The dashboard of the student who is signed in, or of a student whose guardian, or whose admin, is signed in: without the messages.
#[utoipa::path(get, path = "/api/students/dashboard", tag = "Views", params(("student" = Option<IdShape>, Query, description = "Oneself without it")), responses((status = 200, description = "The view", body = StudentDashboard), (status = 304, description = "The reader has this very body")))]
pub(super) async fn student_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Student(student): Student,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.student_dashboard(&claims, student, seen).await?, &headers))
}

/// The dashboard of the teacher who is signed in.
#[utoipa::path(get, path = "/api/teachers/dashboard", tag = "Views", responses((status = 200, description = "The view", body = TeacherDashboard), (status = 304, description = "The reader has this very body")))]
pub(super) async fn teacher_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.teacher_dashboard(&claims, seen).await?, &headers))
}

/// The dashboard of the guardian who is signed in: whose guardian they are, and what was written to them.
#[utoipa::path(get, path = "/api/guardians/dashboard", tag = "Views", responses((status = 200, description = "The view", body = GuardianDashboard), (status = 304, description = "The reader has this very body")))]
pub(super) async fn guardian_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.guardian_dashboard(&claims, seen).await?, &headers))
}

/// The dashboard of an admin.
#[utoipa::path(get, path = "/api/admin/dashboard", tag = "Views", responses((status = 200, description = "The view", body = AdminDashboard), (status = 304, description = "The reader has this very body")))]
pub(super) async fn admin_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.admin_dashboard(&claims, seen).await?, &headers))
}

/// What the student who is signed in owes and has paid, or a student whose guardian, or whose admin, is signed in.
#[utoipa::path(get, path = "/api/students/fees", tag = "Views", params(("student" = Option<IdShape>, Query, description = "Oneself without it")), responses((status = 200, description = "The view", body = StudentFees), (status = 304, description = "The reader has this very body")))]
pub(super) async fn student_fees(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Student(student): Student,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.student_fees(&claims, student, seen).await?, &headers))
}

/// Open invoices, recent payments, and what payment providers told and could not be applied.
#[utoipa::path(get, path = "/api/admin/fees", tag = "Views", responses((status = 200, description = "The view", body = AdminFees), (status = 304, description = "The reader has this very body")))]
pub(super) async fn admin_fees(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.admin_fees(&claims, seen).await?, &headers))
}

/// A student's classes of one day.
#[utoipa::path(get, path = "/api/students/schedule", tag = "Views", params(("student" = Option<IdShape>, Query, description = "Oneself without it"), ("date" = Option<DayShape>, Query, description = "Today without it")), responses((status = 200, description = "The view", body = Schedule), (status = 304, description = "The reader has this very body")))]
pub(super) async fn student_schedule(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    StudentDay { student, date }: StudentDay,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = app.views.student_schedule(&claims, student, date.as_deref(), seen).await?;
    Ok(answer(&app, &claims.inst, view, &headers))
}

/// The teacher's classes of one day.
#[utoipa::path(get, path = "/api/teachers/schedule", tag = "Views", params(("date" = Option<DayShape>, Query, description = "Today without it")), responses((status = 200, description = "The view", body = Schedule), (status = 304, description = "The reader has this very body")))]
pub(super) async fn teacher_schedule(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Day(date): Day,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = app.views.teacher_schedule(&claims, date.as_deref(), seen).await?;
    Ok(answer(&app, &claims.inst, view, &headers))
}

/// All grades of a student.
#[utoipa::path(get, path = "/api/students/grades", tag = "Views", params(("student" = Option<IdShape>, Query, description = "Oneself without it")), responses((status = 200, description = "The view", body = Grades), (status = 304, description = "The reader has this very body")))]
pub(super) async fn student_grades(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Student(student): Student,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.grades(&claims, student, seen).await?, &headers))
}

/// The attendance of a student, class by class.
#[utoipa::path(get, path = "/api/students/attendance", tag = "Views", params(("student" = Option<IdShape>, Query, description = "Oneself without it")), responses((status = 200, description = "The view", body = Attendance), (status = 304, description = "The reader has this very body")))]
pub(super) async fn student_attendance(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Student(student): Student,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.attendance(&claims, student, seen).await?, &headers))
}

/// The students of a class, for its teacher, teachers of its batch and admins.
#[utoipa::path(get, path = "/api/classes/{class}/roster", tag = "Views", responses((status = 200, description = "The view", body = Roster), (status = 304, description = "The reader has this very body")))]
pub(super) async fn class_roster(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Path(class): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.roster(&claims, class, seen).await?, &headers))
}

/// The view with its headers, or 304 when the reader has this very body.
fn answer(app: &App, institute: &str, served: Served, request: &HeaderMap) -> Response {
    let Served { content, bookmark } = served;
    // Where the log was when this was read, nobody asked.
    let bookmark = app.auth.prove_bookmark(institute, bookmark, 0);
    let etag = content.etag.as_str();
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    // Weak comparison (RFC 9110, section 13.1.2).
    let same = known.is_some_and(|tags| {
        tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == etag || tag == "*")
    });
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], content.body.clone()).into_response()
    };
    let headers = [
        (header::ETAG, text(etag)),
        (header::CACHE_CONTROL, Some(HeaderValue::from_static("private, no-cache"))),
        (HeaderName::from_static(BOOKMARK_HEADER), text(&bookmark.to_string())),
        // Ids are of ASCII: see the words in ARCHITECTURE.md.
        (HeaderName::from_static(TAGS_HEADER), text(&content.tags)),
    ];
    response.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    response
}
