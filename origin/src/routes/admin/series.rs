//! Series of classes: making one, and changing or cancelling a class of it with all that follow.

use super::writes::apply;
use super::{Careful, Terms};
use crate::app::App;
use crate::routes::error::ApiError;
use crate::routes::extract::{Identity, JsonBody};
use crate::services::admin::orders::{ClassSeriesChange, IntoCommand as _, NewClassSeries};
use crate::services::commands::Receipt;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use sync_protocol::command::Command;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::routes) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_series))
        .routes(routes!(change_following))
        .routes(routes!(cancel_following))
}

/// Makes the classes of a series: the same weekdays at the same time.
#[utoipa::path(post, path = "/admin/v1/class-series", tag = "Timetable", request_body = NewClassSeries, responses((status = 201, description = "What the command did", body = Receipt)))]
async fn create_series(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    JsonBody(body): JsonBody<NewClassSeries>,
) -> Result<Response, ApiError> {
    let command = body.into_command(String::new());
    apply(&app, &claims, command, terms, StatusCode::CREATED).await
}

/// Changes a class of a series and those that follow it. The tag is that of the class.
#[utoipa::path(patch, path = "/admin/v1/classes/{class}/following", tag = "Timetable", request_body = ClassSeriesChange, responses((status = 200, description = "What the command did", body = Receipt)))]
async fn change_following(
    State(app): State<App>,
    Identity(claims): Identity,
    Careful(terms): Careful,
    Path(class): Path<String>,
    JsonBody(body): JsonBody<ClassSeriesChange>,
) -> Result<Response, ApiError> {
    let command = body.into_command(class);
    apply(&app, &claims, command, terms, StatusCode::OK).await
}

/// Takes a class of a series and those that follow it off all timetables.
#[utoipa::path(post, path = "/admin/v1/classes/{class}/following/cancel", tag = "Timetable", responses((status = 200, description = "What the command did", body = Receipt)))]
async fn cancel_following(
    State(app): State<App>,
    Identity(claims): Identity,
    terms: Terms,
    Path(class): Path<String>,
) -> Result<Response, ApiError> {
    apply(&app, &claims, Command::CancelClassSeries { class }, terms, StatusCode::OK).await
}
