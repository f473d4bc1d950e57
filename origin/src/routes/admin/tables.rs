//! CSV: exports, which stream, and imports, which are read while they arrive.

use super::NoQuery;
use crate::app::App;
use crate::routes::error::ApiError;
use crate::routes::extract::{Identity, Seen};
use crate::services::admin::collections::{self, Collection};
use crate::services::admin::shapes::ImportReport;
use crate::services::import::{Importer, Upload};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Deserialize;
use std::sync::Arc;
use sync_protocol::bookmark::{BOOKMARK_HEADER, Bookmark};
use sync_protocol::token::Claims;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Largest table of an import, in bytes: the results of the Open University's dataset take 10 MB.
const MAX_TABLE_BYTES: usize = 24 * 1024 * 1024;

pub(in crate::routes) fn router() -> OpenApiRouter<App> {
    let exports = OpenApiRouter::new()
        .routes(routes!(export_people))
        .routes(routes!(export_attendance))
        .routes(routes!(export_grades))
        .routes(routes!(export_payments));
    let imports = OpenApiRouter::new().routes(routes!(import_roster)).routes(routes!(import_results));
    exports.merge(imports)
}

/// All people, as CSV.
#[utoipa::path(get, path = "/admin/v1/export/people", tag = "Tables", responses((status = 200, description = "The table", body = String, content_type = "text/csv; charset=utf-8")))]
async fn export_people(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    export(app, (claims, seen), &collections::USERS, "people").await
}

/// All marks of all classes, as CSV.
#[utoipa::path(get, path = "/admin/v1/export/attendance", tag = "Tables", responses((status = 200, description = "The table", body = String, content_type = "text/csv; charset=utf-8")))]
async fn export_attendance(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    export(app, (claims, seen), &collections::ATTENDANCE, "attendance").await
}

/// All works with their grades, as CSV.
#[utoipa::path(get, path = "/admin/v1/export/grades", tag = "Tables", responses((status = 200, description = "The table", body = String, content_type = "text/csv; charset=utf-8")))]
async fn export_grades(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    export(app, (claims, seen), &collections::SUBMISSIONS, "grades").await
}

/// All payments, as CSV.
#[utoipa::path(get, path = "/admin/v1/export/payments", tag = "Tables", responses((status = 200, description = "The table", body = String, content_type = "text/csv; charset=utf-8")))]
async fn export_payments(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
) -> Result<Response, ApiError> {
    export(app, (claims, seen), &collections::PAYMENTS, "payments").await
}

/// The first part is read before the answer begins, so that whoever may not read it is told by the status; each later
/// part when the client has taken the one before.
async fn export(
    app: App,
    (claims, seen): (Arc<Claims>, Option<Bookmark>),
    collection: &'static Collection,
    name: &str,
) -> Result<Response, ApiError> {
    let first = app.admin.export_part(&claims, collection, None, seen).await?;
    let bookmark = app.auth.prove_bookmark(&claims.inst, first.bookmark, 0);
    let rest = stream::try_unfold((first.next, first.bookmark), move |(after, before)| {
        let (app, claims) = (app.clone(), claims.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            // No part is older than the one before it.
            let part = app.admin.export_part(&claims, collection, Some(after), Some(before)).await;
            // An answer that has begun can only be cut off: the client sees that it is not complete.
            let part = part.map_err(|error| {
                tracing::error!(%error, "export");
                std::io::Error::other("the export broke off")
            })?;
            Ok(Some((Bytes::from(part.csv), (part.next, part.bookmark))))
        }
    });
    let parts = stream::once(async { Ok::<_, std::io::Error>(Bytes::from(first.csv)) }).chain(rest);
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
        (CACHE_CONTROL, "private, no-store".to_owned()),
        (HeaderName::from_static(BOOKMARK_HEADER), bookmark.to_string()),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    #[serde(default)]
    dry_run: bool,
}

/// People with their batches: columns email, name, role, batch. What is there stays.
#[utoipa::path(
    post,
    path = "/admin/v1/import/roster",
    tag = "Tables",
    params(("dry_run" = Option<bool>, Query, description = "Checks everything and writes nothing")),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "What was written", body = ImportReport))
)]
async fn import_roster(
    State(app): State<App>,
    Identity(claims): Identity,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Json<ImportReport>, ApiError> {
    import(app, claims, Upload::Roster, query, body).await
}

/// Grades: columns email, assignment, score, max.
#[utoipa::path(
    post,
    path = "/admin/v1/import/results",
    tag = "Tables",
    params(("dry_run" = Option<bool>, Query, description = "Checks everything and writes nothing")),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "What was written", body = ImportReport))
)]
async fn import_results(
    State(app): State<App>,
    Identity(claims): Identity,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Json<ImportReport>, ApiError> {
    import(app, claims, Upload::Results, query, body).await
}

async fn import(
    app: App,
    claims: Arc<Claims>,
    upload: Upload,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Json<ImportReport>, ApiError> {
    let query = query.map_err(|fault| ApiError::invalid_field("dry_run".to_owned(), fault.body_text()))?.0;
    let turn = app.admin.import_turn(&claims).await?;
    let table = receive(body).await?;
    let importer = Importer { claims: Claims::clone(&claims), upload };
    Ok(Json(app.admin.import(turn, importer, table, query.dry_run).await?))
}

/// The table as a file without a name, at its beginning. A slow client costs a file and no memory.
async fn receive(body: Body) -> Result<std::fs::File, ApiError> {
    let file = tempfile::tempfile().map_err(|error| ApiError::internal(&error))?;
    let mut file = tokio::fs::File::from_std(file);
    let (mut parts, mut received) = (body.into_data_stream(), 0);
    while let Some(part) = parts.next().await {
        let part = part
            .map_err(|_| ApiError::invalid_field("body".to_owned(), "the table did not arrive".to_owned()))?;
        received += part.len();
        if received > MAX_TABLE_BYTES {
            return Err(ApiError::body_too_large(MAX_TABLE_BYTES));
        }
        file.write_all(&part).await.map_err(|error| ApiError::internal(&error))?;
    }
    file.rewind().await.map_err(|error| ApiError::internal(&error))?;
    Ok(file.into_std().await)
}
