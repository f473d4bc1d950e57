//! What an institute's admins see of operation: registered devices, refunds, and the queue.

use super::{NoQuery, Pairs, page, record, with_bookmark};
use crate::app::App;
use crate::routes::error::ApiError;
use crate::routes::extract::{Identity, Seen};
use crate::services::admin::Settling;
use crate::services::admin::collections;
use crate::services::admin::shapes::{DeviceRecord, PageOf, QueueRecord, RefundRecord, SetAsideRecord};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use sync_protocol::token::Claims;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::routes) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_devices))
        .routes(routes!(list_refunds))
        .routes(routes!(read_refund))
        .routes(routes!(list_queues))
        .routes(routes!(list_set_aside))
        .routes(routes!(replay_all))
        .routes(routes!(replay_work))
        .routes(routes!(drop_work))
}

/// Registered devices.
#[utoipa::path(get, path = "/admin/v1/devices", tag = "Devices", responses((status = 200, description = "A page", body = PageOf<DeviceRecord>)))]
async fn list_devices(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    let listed = app.admin.list(&claims, &collections::DEVICES, query, seen).await?;
    page::<DeviceRecord>(&app, &claims.inst, listed)
}

/// Refunds.
#[utoipa::path(get, path = "/admin/v1/refunds", tag = "Fees", responses((status = 200, description = "A page", body = PageOf<RefundRecord>)))]
async fn list_refunds(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    let listed = app.admin.list(&claims, &collections::REFUNDS, query, seen).await?;
    page::<RefundRecord>(&app, &claims.inst, listed)
}

/// A refund.
#[utoipa::path(get, path = "/admin/v1/refunds/{refund}", tag = "Fees", responses((status = 200, description = "The record", body = RefundRecord)))]
async fn read_refund(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    let found = app.admin.read(&claims, &collections::REFUNDS, vec![key], seen).await?;
    record::<RefundRecord>(&app, &claims.inst, found)
}

/// The queue of the institute, by consumer.
#[derive(Debug, Serialize, ToSchema)]
struct Queues {
    items: Vec<QueueRecord>,
}

/// How much of what commits ask for waits, and how much was set aside.
#[utoipa::path(get, path = "/admin/v1/queues", tag = "Operation", responses((status = 200, description = "All of them", body = Queues)))]
async fn list_queues(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let (items, bookmark) = app.admin.queues(&claims, seen).await?;
    Ok(with_bookmark(&app, &claims.inst, Queues { items }, bookmark))
}

/// Work that failed too often, with the last reason.
#[utoipa::path(get, path = "/admin/v1/queues/set-aside", tag = "Operation", responses((status = 200, description = "A page", body = PageOf<SetAsideRecord>)))]
async fn list_set_aside(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    let listed = app.admin.list(&claims, &collections::SET_ASIDE, query, seen).await?;
    page::<SetAsideRecord>(&app, &claims.inst, listed)
}

/// What will be done again.
#[derive(Debug, Serialize, ToSchema)]
struct Replayed {
    replayed: u64,
}

/// Has all work that was set aside done again.
#[utoipa::path(post, path = "/admin/v1/queues/set-aside/replay", tag = "Operation", responses((status = 200, description = "How much that is", body = Replayed)))]
async fn replay_all(
    State(app): State<App>,
    Identity(claims): Identity,
    _: NoQuery,
) -> Result<Json<Replayed>, ApiError> {
    Ok(Json(Replayed { replayed: app.admin.replay_all(&claims).await? }))
}

/// Has work done again that was set aside, with no failure counted.
#[utoipa::path(post, path = "/admin/v1/queues/set-aside/{consumer}/{revision}/replay", tag = "Operation", responses((status = 204, description = "It waits again")))]
async fn replay_work(
    State(app): State<App>,
    Identity(claims): Identity,
    _: NoQuery,
    Path(work): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    settle(&app, &claims, work, Settling::Replay).await
}

/// Drops work that was set aside: it is never done.
#[utoipa::path(post, path = "/admin/v1/queues/set-aside/{consumer}/{revision}/drop", tag = "Operation", responses((status = 204, description = "It is dropped")))]
async fn drop_work(
    State(app): State<App>,
    Identity(claims): Identity,
    _: NoQuery,
    Path(work): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    settle(&app, &claims, work, Settling::Drop).await
}

async fn settle(
    app: &App,
    claims: &Claims,
    (consumer, revision): (String, String),
    settling: Settling,
) -> Result<StatusCode, ApiError> {
    // What is no number is the revision of no work.
    let digits = revision.bytes().all(|byte| byte.is_ascii_digit());
    let revision = revision.parse().ok().filter(|_| digits).unwrap_or(u64::MAX);
    app.admin.settle_work(claims, (consumer, revision), settling).await?;
    Ok(StatusCode::NO_CONTENT)
}
