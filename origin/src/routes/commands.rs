//! Commands, from their giver and from edges.

use super::error::ApiError;
use super::extract::{Body, Edge, Identity, JsonBody};
use crate::app::App;
use crate::clock::unix_ms;
use crate::services::commands::{CommandState, ForwardedCommand, Receipt};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::command::{Command, IDEMPOTENCY_KEY_HEADER, check_key};

pub(super) async fn apply(
    State(app): State<App>,
    Identity(claims): Identity,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<impl IntoResponse, ApiError> {
    // A header that is no text is no visible ASCII either.
    let key = headers.get(IDEMPOTENCY_KEY_HEADER).map(|key| key.to_str().unwrap_or_default());
    let key = check_key(key)?.to_owned();
    let command = Command::decode(&body)?;
    let now = unix_ms();
    let receipt = app.commands.apply(&claims, key, command, now, now).await?;
    Ok(answer(&app, &claims.inst, receipt))
}

pub(super) async fn apply_forwarded(
    State(app): State<App>,
    _: Edge,
    JsonBody(forwarded): JsonBody<ForwardedCommand>,
) -> Result<impl IntoResponse, ApiError> {
    let institute = forwarded.identity.inst.clone();
    let receipt = app.commands.apply_forwarded(forwarded, unix_ms()).await?;
    Ok(answer(&app, &institute, receipt))
}

pub(super) async fn state(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(key): Path<String>,
) -> Result<Json<CommandState>, ApiError> {
    let mut state = app.commands.state(&claims, key).await?;
    state.bookmark = app.auth.prove_bookmark(&claims.inst, state.bookmark, 0);
    Ok(Json(state))
}

fn answer(app: &App, institute: &str, receipt: Receipt) -> impl IntoResponse + use<> {
    let bookmark = app.auth.prove_bookmark(institute, receipt.bookmark, receipt.position);
    let receipt = Receipt { bookmark, ..receipt };
    ([(BOOKMARK_HEADER, receipt.bookmark.to_string())], Json(receipt))
}
