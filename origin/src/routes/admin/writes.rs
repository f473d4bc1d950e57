//! Writing: every write is a command.

use super::{Careful, Terms, changed};
use crate::app::App;
use crate::routes::error::ApiError;
use crate::routes::extract::{Identity, JsonBody};
use crate::services::admin::orders::*;
use crate::services::commands::Receipt;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use sync_protocol::command::Command;
use sync_protocol::token::Claims;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::routes) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_user))
        .routes(routes!(change_user))
        .routes(routes!(deactivate_user))
        .routes(routes!(reactivate_user))
        .routes(routes!(revoke_device))
        .routes(routes!(add_guardian, remove_guardian))
        .routes(routes!(retract_message))
        .routes(routes!(create_batch))
        .routes(routes!(change_batch))
        .routes(routes!(enroll_student, withdraw_student))
        .routes(routes!(assign_teacher, unassign_teacher))
        .routes(routes!(create_class))
        .routes(routes!(change_class))
        .routes(routes!(cancel_class))
        .routes(routes!(create_assignment))
        .routes(routes!(change_assignment))
        .routes(routes!(grade_submission))
        .routes(routes!(create_invoice))
        .routes(routes!(apply_payment_event))
        .routes(routes!(settle_payment_event))
        .routes(routes!(change_institute))
}

pub(super) async fn apply(
    app: &App,
    claims: &Claims,
    command: Command,
    terms: Terms,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let done = app.admin.apply(claims, command, terms.key, terms.if_match).await?;
    Ok(changed(app, &claims.inst, status, done))
}

/// Makes a user.
#[utoipa::path(post, path = "/admin/v1/users", tag = "People", request_body = NewUser, responses((status = 201, description = "What the command did", body = Receipt)))]
async fn create_user(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    JsonBody(body): JsonBody<NewUser>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::CREATED).await
}

/// Changes a user.
#[utoipa::path(patch, path = "/admin/v1/users/{user}", tag = "People", request_body = UserChange, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn change_user(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    Path(user): Path<String>,
    JsonBody(body): JsonBody<UserChange>,
) -> Result<Response, ApiError> {
    let command = body.into_command(user);
    apply(&app, &claims, command, terms, StatusCode::OK).await
}

/// Deactivates a user: no token of theirs counts any more.
#[utoipa::path(post, path = "/admin/v1/users/{user}/deactivate", tag = "People", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn deactivate_user(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path(user): Path<String>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::DeactivateUser { user }, terms, StatusCode::OK).await
}

/// Activates a user again.
#[utoipa::path(post, path = "/admin/v1/users/{user}/reactivate", tag = "People", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn reactivate_user(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path(user): Path<String>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::ReactivateUser { user }, terms, StatusCode::OK).await
}

/// Ends all sessions of a device.
#[utoipa::path(delete, path = "/admin/v1/users/{user}/devices/{device}", tag = "Devices", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn revoke_device(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((user, device)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::RevokeDevice { user, device }, terms, StatusCode::OK).await
}

/// Makes somebody a guardian of a student.
#[utoipa::path(put, path = "/admin/v1/guardians/{guardian}/students/{student}", tag = "People", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn add_guardian(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((guardian, student)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::AddGuardian { guardian, student }, terms, StatusCode::OK).await
}

/// Ends a guardianship.
#[utoipa::path(delete, path = "/admin/v1/guardians/{guardian}/students/{student}", tag = "People", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn remove_guardian(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((guardian, student)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::RemoveGuardian { guardian, student }, terms, StatusCode::OK).await
}

/// Takes a message from its readers.
#[utoipa::path(post, path = "/admin/v1/messages/{message}/retract", tag = "Messages", request_body = Retraction, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn retract_message(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path(message): Path<String>,
    JsonBody(body): JsonBody<Retraction>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, body.into_command(message), terms, StatusCode::OK).await
}

/// Makes a batch.
#[utoipa::path(post, path = "/admin/v1/batches", tag = "Batches", request_body = NewBatch, responses((status = 201, description = "What the command did", body = Receipt)))]
async fn create_batch(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    JsonBody(body): JsonBody<NewBatch>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::CREATED).await
}

/// Changes a batch.
#[utoipa::path(patch, path = "/admin/v1/batches/{batch}", tag = "Batches", request_body = BatchChange, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn change_batch(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    Path(batch): Path<String>,
    JsonBody(body): JsonBody<BatchChange>,
) -> Result<Response, ApiError> {
    let command = body.into_command(batch);
    apply(&app, &claims, command, terms, StatusCode::OK).await
}

/// Puts a student into a batch.
#[utoipa::path(put, path = "/admin/v1/batches/{batch}/students/{student}", tag = "Batches", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn enroll_student(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((batch, student)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::EnrollStudent { student, batch }, terms, StatusCode::OK).await
}

/// Takes a student out of a batch.
#[utoipa::path(delete, path = "/admin/v1/batches/{batch}/students/{student}", tag = "Batches", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn withdraw_student(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((batch, student)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::WithdrawStudent { student, batch }, terms, StatusCode::OK).await
}

/// Gives a batch a teacher.
#[utoipa::path(put, path = "/admin/v1/batches/{batch}/teachers/{teacher}", tag = "Batches", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn assign_teacher(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((batch, teacher)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::AssignTeacher { teacher, batch }, terms, StatusCode::OK).await
}

/// Takes a teacher from a batch.
#[utoipa::path(delete, path = "/admin/v1/batches/{batch}/teachers/{teacher}", tag = "Batches", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn unassign_teacher(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((batch, teacher)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::UnassignTeacher { teacher, batch }, terms, StatusCode::OK).await
}

/// Makes a class.
#[utoipa::path(post, path = "/admin/v1/classes", tag = "Timetable", request_body = NewClass, responses((status = 201, description = "What the command did", body = Receipt)))]
async fn create_class(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    JsonBody(body): JsonBody<NewClass>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::CREATED).await
}

/// Changes a class.
#[utoipa::path(patch, path = "/admin/v1/classes/{class}", tag = "Timetable", request_body = ClassChange, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn change_class(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    Path(class): Path<String>,
    JsonBody(body): JsonBody<ClassChange>,
) -> Result<Response, ApiError> {
    let command = body.into_command(class);
    apply(&app, &claims, command, terms, StatusCode::OK).await
}

/// Takes a class off all timetables.
#[utoipa::path(post, path = "/admin/v1/classes/{class}/cancel", tag = "Timetable", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn cancel_class(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path(class): Path<String>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::CancelClass { class }, terms, StatusCode::OK).await
}

/// Makes an assignment.
#[utoipa::path(post, path = "/admin/v1/assignments", tag = "Coursework", request_body = NewAssignment, responses((status = 201, description = "What the command did", body = Receipt)))]
async fn create_assignment(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    JsonBody(body): JsonBody<NewAssignment>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::CREATED).await
}

/// Changes an assignment.
#[utoipa::path(patch, path = "/admin/v1/assignments/{assignment}", tag = "Coursework", request_body = AssignmentChange, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn change_assignment(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    Path(assignment): Path<String>,
    JsonBody(body): JsonBody<AssignmentChange>,
) -> Result<Response, ApiError> {
    let command = body.into_command(assignment);
    apply(&app, &claims, command, terms, StatusCode::OK).await
}

/// Grades a submission.
#[utoipa::path(put, path = "/admin/v1/submissions/{submission}/grade", tag = "Coursework", request_body = Grade, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn grade_submission(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    Path(submission): Path<String>,
    JsonBody(grade): JsonBody<Grade>,
) -> Result<Response, ApiError> {
    let (key, if_match) = (terms.key, terms.if_match);
    let done = app.admin.grade(&claims, submission, grade.into_parts(), key, if_match).await?;
    Ok(changed(&app, &claims.inst, StatusCode::OK, done))
}

/// Makes an invoice.
#[utoipa::path(post, path = "/admin/v1/invoices", tag = "Fees", request_body = NewInvoice, responses((status = 201, description = "What the command did", body = Receipt)))]
async fn create_invoice(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    JsonBody(body): JsonBody<NewInvoice>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::CREATED).await
}

/// Applies what a payment provider told and was set aside.
#[utoipa::path(post, path = "/admin/v1/payment-events/{provider}/{event}/apply", tag = "Fees", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn apply_payment_event(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((provider, event)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let command = Command::ApplyPaymentEvent { provider, event };
    apply(&app, &claims, command, terms, StatusCode::OK).await
}

/// Settles what a payment provider told and was set aside: nothing comes of it.
#[utoipa::path(post, path = "/admin/v1/payment-events/{provider}/{event}/settle", tag = "Fees", request_body = Settlement, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn settle_payment_event(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path((provider, event)): Path<(String, String)>,
    JsonBody(body): JsonBody<Settlement>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, body.into_command(provider, event), terms, StatusCode::OK).await
}

/// Changes the institute.
#[utoipa::path(patch, path = "/admin/v1/institute", tag = "Operation", request_body = InstituteChange, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn change_institute(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    JsonBody(body): JsonBody<InstituteChange>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::OK).await
}
