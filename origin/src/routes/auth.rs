//! Signing in, and the keys that verify what it gives.

use super::error::ApiError;
use super::extract::{Address, JsonBody};
use crate::app::App;
use crate::services::auth::{Login, Refresh, Tokens};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

/// Signs in.
#[utoipa::path(post, path = "/api/auth/login", tag = "Signing in", security(()), request_body = Login, responses((status = 200, description = "Tokens", body = Tokens)))]
pub(super) async fn login(
    State(app): State<App>,
    Address(address): Address,
    JsonBody(login): JsonBody<Login>,
) -> Result<impl IntoResponse, ApiError> {
    let tokens = app.auth.login(login, address).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(tokens)))
}

/// New tokens for a refresh token, which then works no more.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "Signing in", security(()), request_body = Refresh, responses((status = 200, description = "Tokens", body = Tokens)))]
pub(super) async fn refresh(
    State(app): State<App>,
    JsonBody(refresh): JsonBody<Refresh>,
) -> Result<impl IntoResponse, ApiError> {
    let tokens = app.auth.refresh(refresh).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(tokens)))
}

/// The keys that verify access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "Signing in", security(()), responses((status = 200, description = "A JSON Web Key Set", body = Object, content_type = "application/jwk-set+json")))]
pub(super) async fn key_set(State(app): State<App>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        // A new key is published before it signs; an edge that meets an unknown one asks again.
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, app.auth.key_set())
}
