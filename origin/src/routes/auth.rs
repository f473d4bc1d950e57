//! Signing in and out, sessions, devices and passwords of one's own, and the keys that verify tokens.

use super::error::ApiError;
use super::extract::{Address, Identity, JsonBody};
use crate::app::App;
use crate::services::auth::{
    DeviceRegistration, Login, Logout, NewPassword, PasswordChange, PasswordResetRequest, Refresh,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;

/// What is told to one person is kept by nobody on the way.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

pub(super) async fn login(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(login): JsonBody<Login>,
) -> Result<impl IntoResponse, ApiError> {
    let tokens = app.auth.login(login, address).await?;
    Ok((NO_STORE, Json(tokens)))
}

pub(super) async fn refresh(
    State(app): State<App>,
    JsonBody(refresh): JsonBody<Refresh>,
) -> Result<impl IntoResponse, ApiError> {
    let tokens = app.auth.refresh(refresh).await?;
    Ok((NO_STORE, Json(tokens)))
}

pub(super) async fn logout(
    State(app): State<App>,
    JsonBody(logout): JsonBody<Logout>,
) -> Result<StatusCode, ApiError> {
    app.auth.logout(logout).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn logout_everywhere(
    State(app): State<App>,
    Identity(claims): Identity,
) -> Result<StatusCode, ApiError> {
    app.auth.logout_everywhere(claims).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sessions(
    State(app): State<App>,
    Identity(claims): Identity,
) -> Result<impl IntoResponse, ApiError> {
    Ok((NO_STORE, Json(app.auth.sessions(claims).await?)))
}

pub(super) async fn end_session(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(session): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.auth.end_session(claims, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn devices(
    State(app): State<App>,
    Identity(claims): Identity,
) -> Result<impl IntoResponse, ApiError> {
    Ok((NO_STORE, Json(app.auth.devices(claims).await?)))
}

pub(super) async fn register_device(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(device): Path<String>,
    JsonBody(registration): JsonBody<DeviceRegistration>,
) -> Result<StatusCode, ApiError> {
    app.auth.register_device(claims, device, registration).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_device(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.auth.remove_device(claims, device).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn change_password(
    State(app): State<App>,
    Identity(claims): Identity,
    Address(address): Address,
    JsonBody(change): JsonBody<PasswordChange>,
) -> Result<impl IntoResponse, ApiError> {
    Ok((NO_STORE, Json(app.auth.change_password(claims, change, address).await?)))
}

/// The same answer whether or not anybody has the address.
pub(super) async fn request_password_reset(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(request): JsonBody<PasswordResetRequest>,
) -> Result<StatusCode, ApiError> {
    app.auth.request_password_reset(request, address).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn reset_password(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(new): JsonBody<NewPassword>,
) -> Result<StatusCode, ApiError> {
    app.auth.reset_password(new, address).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn key_set(State(app): State<App>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        // A new key is published before it signs; an edge that meets an unknown one asks again.
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, app.auth.key_set().borrow().clone())
}
