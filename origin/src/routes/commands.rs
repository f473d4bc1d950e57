//! Commands, from their giver and from edges.

use super::error::ApiError;
use super::extract::{Body, Edge, Identity, JsonBody};
use crate::app::App;
use crate::clock::unix_ms;
use crate::services::commands::{CommandState, ForwardedCommand, Order, Receipt};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::response::IntoResponse;
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::command::{Command, IDEMPOTENCY_KEY_HEADER, check_key};
use utoipa::ToSchema;

/// Applies a command, once for each idempotency key.
#[utoipa::path(post, path = "/commands", tag = "Commands", request_body = CommandBody, responses((status = 200, description = "What the command did", body = Receipt)))]
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
    let if_match = headers.get(IF_MATCH).map(|tags| tags.to_str().unwrap_or_default().to_owned());
    let now = unix_ms();
    let order = Order { key, command, if_match, at: now, now };
    let receipt = app.commands.apply(&claims, order).await?;
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

/// What became of a command of this device.
#[utoipa::path(get, path = "/commands/{key}", tag = "Commands", responses((status = 200, description = "What was decided", body = CommandState)))]
pub(super) async fn state(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(key): Path<String>,
) -> Result<Json<CommandState>, ApiError> {
    let mut state = app.commands.state(&claims, key).await?;
    state.bookmark = app.auth.prove_bookmark(&claims.inst, state.bookmark, 0);
    Ok(Json(state))
}

/// A command: its name and its fields, as `sync_protocol::command` has them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape is documented; `Command::decode` reads it")]
struct CommandBody {
    command: String,
}

fn answer(app: &App, institute: &str, receipt: Receipt) -> impl IntoResponse + use<> {
    let bookmark = app.auth.prove_bookmark(institute, receipt.bookmark, receipt.position);
    let receipt = Receipt { bookmark, ..receipt };
    ([(BOOKMARK_HEADER, receipt.bookmark.to_string())], Json(receipt))
}
