//! The table of routes, and what holds for all of them.

mod auth;
mod commands;
mod documents;
mod error;
mod extract;
mod health;
mod link;
mod views;
mod webhooks;

#[cfg(test)]
mod tests;

use crate::app::App;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use error::ApiError;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

/// Largest request body: a link message is larger, but comes over the WebSocket.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A request that takes longer waits for something that is broken.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// All that the origin serves.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/health/ready", get(health::ready))
        .route("/.well-known/jwks.json", get(auth::key_set))
        .route("/api/auth/login", post(auth::login))
        .route("/api/auth/refresh", post(auth::refresh))
        .route("/api/auth/logout", post(auth::logout))
        .route("/api/auth/logout-everywhere", post(auth::logout_everywhere))
        .route("/api/auth/sessions", get(auth::sessions))
        .route("/api/auth/sessions/{session}", delete(auth::end_session))
        .route("/api/auth/devices", get(auth::devices))
        .route("/api/auth/devices/{device}", put(auth::register_device).delete(auth::remove_device))
        .route("/api/auth/password", post(auth::change_password))
        .route("/api/auth/password/forgot", post(auth::request_password_reset))
        .route("/api/auth/password/reset", post(auth::reset_password))
        .route("/api/students/dashboard", get(views::student_dashboard))
        .route("/api/students/schedule", get(views::student_schedule))
        .route("/api/students/fees", get(views::student_fees))
        .route("/api/admin/fees", get(views::admin_fees))
        .route("/api/teachers/dashboard", get(views::teacher_dashboard))
        .route("/api/teachers/schedule", get(views::teacher_schedule))
        .route("/api/admin/dashboard", get(views::admin_dashboard))
        .route("/api/documents", post(documents::register))
        .route("/api/documents/{document}", get(documents::fetch))
        .route("/commands", post(commands::apply))
        .route("/commands/{key}", get(commands::state))
        .route("/webhooks/payments/{institute}/{provider}", post(webhooks::receive))
        .route("/edge/v1/commands", post(commands::apply_forwarded))
        .route("/edge/v1/link", get(link::open))
        .fallback(async || ApiError::NO_ROUTE)
        .method_not_allowed_fallback(async || ApiError::WRONG_METHOD)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(within_time))
        .layer(CatchPanicLayer::custom(|_| ApiError::PANIC.into_response()))
        .layer(TraceLayer::new_for_http())
        .with_state(app)
}

/// The WebSocket of the link is not bound by this: its upgrade answers at once.
async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TIMEOUT.into_response(),
    }
}
