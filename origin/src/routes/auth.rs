//! Signing in and out, sessions, devices and passwords of one's own, and the keys that verify tokens.

use super::error::ApiError;
use super::extract::{Address, Identity, JsonBody};
use crate::app::App;
use crate::services::auth::{
    DeviceList, DeviceRegistration, Login, Logout, NewPassword, PasswordChange, PasswordResetRequest,
    Refresh, SessionList, Tokens,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;

/// What is told to one person is kept by nobody on the way.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Signs in.
#[utoipa::path(post, path = "/api/auth/login", tag = "Signing in", security(()), request_body = Login, responses((status = 200, description = "Tokens", body = Tokens)))]
pub(super) async fn login(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(login): JsonBody<Login>,
) -> Result<impl IntoResponse, ApiError> {
    let tokens = app.auth.login(login, address).await?;
    Ok((NO_STORE, Json(tokens)))
}

/// New tokens for a refresh token, which then works no more.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "Signing in", security(()), request_body = Refresh, responses((status = 200, description = "Tokens", body = Tokens)))]
pub(super) async fn refresh(
    State(app): State<App>,
    JsonBody(refresh): JsonBody<Refresh>,
) -> Result<impl IntoResponse, ApiError> {
    let tokens = app.auth.refresh(refresh).await?;
    Ok((NO_STORE, Json(tokens)))
}

/// Ends the session of a refresh token. The answer is the same for a token that nobody has.
#[utoipa::path(post, path = "/api/auth/logout", tag = "Signing in", security(()), request_body = Logout, responses((status = 204, description = "Done")))]
pub(super) async fn logout(
    State(app): State<App>,
    JsonBody(logout): JsonBody<Logout>,
) -> Result<StatusCode, ApiError> {
    app.auth.logout(logout).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of the user: no token that was given out before counts any more.
#[utoipa::path(post, path = "/api/auth/logout-everywhere", tag = "Signing in", responses((status = 204, description = "Done")))]
pub(super) async fn logout_everywhere(
    State(app): State<App>,
    Identity(claims): Identity,
) -> Result<StatusCode, ApiError> {
    app.auth.logout_everywhere(claims).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The user's own sessions.
#[utoipa::path(get, path = "/api/auth/sessions", tag = "Signing in", responses((status = 200, description = "All of them", body = SessionList)))]
pub(super) async fn sessions(
    State(app): State<App>,
    Identity(claims): Identity,
) -> Result<impl IntoResponse, ApiError> {
    Ok((NO_STORE, Json(app.auth.sessions(claims).await?)))
}

/// Ends one of the user's own sessions.
#[utoipa::path(delete, path = "/api/auth/sessions/{session}", tag = "Signing in", responses((status = 204, description = "Done")))]
pub(super) async fn end_session(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(session): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.auth.end_session(claims, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The user's own devices.
#[utoipa::path(get, path = "/api/auth/devices", tag = "Signing in", responses((status = 200, description = "All of them", body = DeviceList)))]
pub(super) async fn devices(
    State(app): State<App>,
    Identity(claims): Identity,
) -> Result<impl IntoResponse, ApiError> {
    Ok((NO_STORE, Json(app.auth.devices(claims).await?)))
}

/// Registers one of the user's own devices, or names it anew.
#[utoipa::path(put, path = "/api/auth/devices/{device}", tag = "Signing in", request_body = DeviceRegistration, responses((status = 204, description = "Done")))]
pub(super) async fn register_device(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(device): Path<String>,
    JsonBody(registration): JsonBody<DeviceRegistration>,
) -> Result<StatusCode, ApiError> {
    app.auth.register_device(claims, device, registration).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes one of the user's own devices and ends its sessions.
#[utoipa::path(delete, path = "/api/auth/devices/{device}", tag = "Signing in", responses((status = 204, description = "Done")))]
pub(super) async fn remove_device(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.auth.remove_device(claims, device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets another password, which ends all other sessions.
#[utoipa::path(post, path = "/api/auth/password", tag = "Signing in", request_body = PasswordChange, responses((status = 200, description = "Tokens", body = Tokens)))]
pub(super) async fn change_password(
    State(app): State<App>,
    Identity(claims): Identity,
    Address(address): Address,
    JsonBody(change): JsonBody<PasswordChange>,
) -> Result<impl IntoResponse, ApiError> {
    Ok((NO_STORE, Json(app.auth.change_password(claims, change, address).await?)))
}

/// Sends a token that sets a password: the same answer whether or not anybody has the address.
#[utoipa::path(post, path = "/api/auth/password/forgot", tag = "Signing in", security(()), request_body = PasswordResetRequest, responses((status = 202, description = "A mail is sent if somebody has the address")))]
pub(super) async fn request_password_reset(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(request): JsonBody<PasswordResetRequest>,
) -> Result<StatusCode, ApiError> {
    app.auth.request_password_reset(request, address).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sets a password by a token that came by mail.
#[utoipa::path(post, path = "/api/auth/password/reset", tag = "Signing in", security(()), request_body = NewPassword, responses((status = 204, description = "Done")))]
pub(super) async fn reset_password(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(new): JsonBody<NewPassword>,
) -> Result<StatusCode, ApiError> {
    app.auth.reset_password(new, address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The keys that verify access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "Signing in", security(()), responses((status = 200, description = "A JSON Web Key Set", body = Object, content_type = "application/jwk-set+json")))]
pub(super) async fn key_set(State(app): State<App>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        // A new key is published before it signs; an edge that meets an unknown one asks again.
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, app.auth.key_set().borrow().clone())
}
