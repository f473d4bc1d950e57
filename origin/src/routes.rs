//! The table of routes, and what holds for all of them.

mod admin;
mod auth;
mod batch;
mod commands;
mod documents;
mod error;
mod extract;
mod health;
mod link;
mod notifications;
mod observed;
mod openapi;
mod operators;
mod proved;
mod quarantine;
mod views;
mod webhooks;

#[cfg(test)]
mod tests;

use crate::app::App;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use error::ApiError;
use metrics_exporter_prometheus::PrometheusHandle;
pub(crate) use observed::describe;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Largest request body: a link message is larger, but comes over the WebSocket.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A request that takes longer waits for something that is broken.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// As [`REQUEST_TIMEOUT`], of an import: a table of the largest size over a slow line.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);

/// What everybody may call, with its description.
fn public() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(auth::key_set))
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::logout_everywhere))
        .routes(routes!(auth::sessions))
        .routes(routes!(auth::end_session))
        .routes(routes!(auth::devices))
        .routes(routes!(auth::register_device, auth::remove_device))
        .routes(routes!(auth::change_password))
        .routes(routes!(auth::request_password_reset))
        .routes(routes!(auth::reset_password))
        .merge(views())
        .routes(routes!(batch::read))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::mark_read))
        .routes(routes!(documents::register))
        .routes(routes!(documents::fetch))
        .routes(routes!(documents::cut_history))
        .routes(routes!(quarantine::show))
        .routes(routes!(quarantine::accept))
        .routes(routes!(quarantine::discard))
        .routes(routes!(commands::apply))
        .routes(routes!(commands::state))
        .merge(admin::doubts::router())
        .merge(admin::lists::router())
        .merge(admin::operation::router())
        .merge(admin::series::router())
        .merge(admin::tables::router())
        .merge(admin::writes::router())
}

fn views() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(views::student_dashboard))
        .routes(routes!(views::student_schedule))
        .routes(routes!(views::student_fees))
        .routes(routes!(views::student_grades))
        .routes(routes!(views::student_attendance))
        .routes(routes!(views::teacher_dashboard))
        .routes(routes!(views::teacher_schedule))
        .routes(routes!(views::guardian_dashboard))
        .routes(routes!(views::admin_dashboard))
        .routes(routes!(views::admin_fees))
        .routes(routes!(views::class_roster))
}

/// All that the origin serves.
pub(crate) fn router(app: App) -> Router {
    let (public, described) = public().split_for_parts();
    let document = openapi::document(&described);
    let batched = batch::Views::new(views().into(), app.clone());
    Router::new()
        .merge(public)
        .merge(openapi::pages(document))
        // Not described: its body is the provider's own, and nobody without the provider's key can make its signature.
        .route("/webhooks/payments/{institute}/{provider}", post(webhooks::receive))
        .route("/edge/v1/commands", post(commands::apply_forwarded))
        .route("/edge/v1/link", get(link::open))
        .fallback(async || ApiError::NO_ROUTE)
        .method_not_allowed_fallback(async || ApiError::WRONG_METHOD)
        .layer(Extension(batched))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(sound_path))
        .layer(from_fn(within_time))
        .layer(CatchPanicLayer::custom(|_| ApiError::PANIC.into_response()))
        .layer(from_fn(observed::observe))
        .layer(TraceLayer::new_for_http())
        .with_state(app)
}

/// What operators are served, on an address of their own.
pub(crate) fn operators(app: App, collected: PrometheusHandle) -> Router {
    let health = Router::new()
        .route("/health", get(health::health))
        .route("/health/ready", get(health::ready))
        .with_state(app.clone());
    Router::new()
        .route("/metrics", get(operators::metrics))
        .with_state((app, collected))
        .merge(health)
        .fallback(async || ApiError::NO_ROUTE)
        .layer(from_fn(within_time))
}

/// Refuses a path whose parts are no text in UTF-8, whichever handler it would reach, and one with U+0000: no id has it, and
/// Postgres takes it nowhere.
async fn sound_path(request: Request, next: Next) -> Response {
    match String::from_utf8(decoded(request.uri().path())) {
        Err(_) => ApiError::BAD_PATH.into_response(),
        Ok(path) if path.contains('\0') => ApiError::NO_ROUTE.into_response(),
        Ok(_) => next.run(request).await,
    }
}

/// The bytes that a path stands for (RFC 3986, section 2.1); what is no escape stands for itself.
fn decoded(path: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut at) = (path.as_bytes(), 0);
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some(byte) = bytes.get(at) {
        let escape = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (byte, escape) {
            (b'%', (Some(high), Some(low))) => {
                // Two hexadecimal digits are a byte.
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// The WebSocket of the link is not bound by this: its upgrade answers at once.
async fn within_time(request: Request, next: Next) -> Response {
    let import = request.uri().path().starts_with("/admin/v1/import/");
    let limit = if import { IMPORT_TIMEOUT } else { REQUEST_TIMEOUT };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TIMEOUT.into_response(),
    }
}
