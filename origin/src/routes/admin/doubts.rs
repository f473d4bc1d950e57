//! Doubt threads: the search for those who may read them, and the lists of admins.

use super::{NoQuery, Pairs, page, record, with_bookmark};
use crate::app::App;
use crate::routes::error::ApiError;
use crate::routes::extract::{Identity, Seen};
use crate::services::admin::collections::DOUBTS;
use crate::services::admin::orders::Id;
use crate::services::admin::shapes::{DoubtDetail, DoubtRecord, PageOf};
use crate::services::documents::{DoubtPage, DoubtPlace, DoubtSearch, SearchWords};
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::routes) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(list_doubts)).routes(routes!(read_doubt))
}

/// Doubts of the batches of the student, guardian or teacher who is signed in, those in which somebody wrote last first.
#[utoipa::path(
    get,
    path = "/api/doubts",
    tag = "Documents",
    params(
        ("q" = Option<SearchWords>, Query, description = "Only what has a word that begins with each of these, in the question or an answer"),
        ("batch" = Option<Id>, Query, description = "Of this batch alone; an admin names one"),
        ("answered" = Option<bool>, Query, description = "Only those that others than the one who asked have answered, or only the others"),
        ("before" = Option<DoubtPlace>, Query, description = "The `next` of the page before")
    ),
    responses((status = 200, description = "A page", body = DoubtPage))
)]
async fn search(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    uri: Uri,
) -> Result<Response, ApiError> {
    let search = Query::<DoubtSearch>::try_from_uri(&uri);
    let Query(search) =
        search.map_err(|error| ApiError::invalid_field("query".to_owned(), error.to_string()))?;
    let (found, bookmark) = app.documents.search_doubts(&claims, search, seen).await?;
    Ok(with_bookmark(&app, &claims.inst, found, bookmark))
}

/// Doubts, without their texts.
#[utoipa::path(get, path = "/admin/v1/doubts", tag = "Documents", responses((status = 200, description = "A page", body = PageOf<DoubtRecord>)))]
async fn list_doubts(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Pairs(query): Pairs,
) -> Result<Response, ApiError> {
    page::<DoubtRecord>(&app, &claims.inst, app.admin.list(&claims, &DOUBTS, query, seen).await?)
}

/// A doubt with question and answers, by its document.
#[utoipa::path(get, path = "/admin/v1/doubts/{document}", tag = "Documents", responses((status = 200, description = "The record", body = DoubtDetail)))]
async fn read_doubt(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    _: NoQuery,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    record::<DoubtDetail>(&app, &claims.inst, app.admin.read(&claims, &DOUBTS, vec![key], seen).await?)
}
