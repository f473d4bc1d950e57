//! What operators see of sync: the institutes that are active, the sessions that are open, and the documents.

use crate::data_folder::is_institute;
use crate::front::SyncFront;
use crate::limits;
use crate::problem::{Problem, whole_body};
use crate::sync::institutes::{ActivationError, EngineHandle};
use crate::sync::questions::QuestionError;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use std::str::FromStr;
use sync_protocol::document_id::DocumentId;
use wasmtime_wasi_http::WasiBody;

#[derive(Serialize)]
struct InstituteFigures {
    institute: String,
    sessions: u64,
    /// Of what devices have sent and the engine has not taken yet.
    bytes_waiting: u64,
}

/// Some of a list, and where the rest begins.
#[derive(Serialize)]
struct Page<T, N> {
    items: Vec<T>,
    next: Option<N>,
}

/// Answers `/sync/…`; `path` is what stands behind the slash.
pub(super) async fn answer(
    sync: Option<&SyncFront>,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Result<Response<WasiBody>, Problem> {
    let detail = "this application has no `sync` under [application.tool.rollcall]";
    let sync = sync.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not-found", detail))?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let detail = "what operators see is read with GET";
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        let mut response = problem.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    match path.split_once('/') {
        None if path == "institutes" => institutes(sync, query),
        None if path == "sessions" => sessions(sync, query),
        None if path == "documents" => documents(sync, query).await,
        Some(("documents", id)) => document(sync, id, query).await,
        _ => Err(Problem::not_found()),
    }
}

fn institutes(sync: &SyncFront, query: Option<&str>) -> Result<Response<WasiBody>, Problem> {
    let [] = parameters(query, [])?;
    let sessions = sync.institutes.sessions().count_by_institute();
    let figures = |(institute, bytes): (String, usize)| {
        let sessions = sessions.get(&institute).copied().unwrap_or_default();
        InstituteFigures { institute, sessions, bytes_waiting: bytes as u64 }
    };
    let items: Vec<_> = sync.institutes.active().into_iter().map(figures).collect();
    // No more are active at once than fit on a page.
    Ok(json(&Page::<_, ()> { items, next: None }))
}

fn sessions(sync: &SyncFront, query: Option<&str>) -> Result<Response<WasiBody>, Problem> {
    let [institute, after, limit] = parameters(query, ["institute", "after", "limit"])?;
    if let Some(institute) = institute {
        check_institute(institute)?;
    }
    let (after, limit) = (parsed("after", after)?, page_limit(limit)?);
    let found = sync.institutes.sessions().page(institute, after, limit as usize + 1);
    Ok(json(&page(found, limit, |session| session.session)))
}

async fn documents(sync: &SyncFront, query: Option<&str>) -> Result<Response<WasiBody>, Problem> {
    let [institute, after, limit] = parameters(query, ["institute", "after", "limit"])?;
    let after = parsed::<DocumentId>("after", after)?;
    let limit = page_limit(limit)?;
    let engine = engine(sync, institute)?;
    let found = engine.documents(after, limit + 1).await.map_err(|error| QuestionError::problem(&error))?;
    Ok(json(&page(found, limit, |document| document.id.clone())))
}

async fn document(sync: &SyncFront, id: &str, query: Option<&str>) -> Result<Response<WasiBody>, Problem> {
    let [institute] = parameters(query, ["institute"])?;
    let document =
        id.parse::<DocumentId>().map_err(|error| Problem::invalid_field("document", error.to_string()))?;
    let found = engine(sync, institute)?.document(document).await;
    match found.map_err(|error| QuestionError::problem(&error))? {
        Some(state) => Ok(json(&state)),
        None => {
            let detail = format!("this edge holds no document {document} of this institute");
            Err(Problem::new(StatusCode::NOT_FOUND, "document-unknown", detail))
        }
    }
}

/// The engine of an institute of which this edge has a log. Asking about another one must not make it one.
fn engine(sync: &SyncFront, institute: Option<&str>) -> Result<EngineHandle, Problem> {
    let institute =
        institute.ok_or_else(|| Problem::invalid_field("institute", "the institute must be named"))?;
    check_institute(institute)?;
    let unknown = || {
        let detail = format!("this edge has no log of {institute}");
        Problem {
            field: Some("institute".to_owned()),
            ..Problem::new(StatusCode::NOT_FOUND, "institute-unknown", detail)
        }
    };
    match sync.institutes.with_log(institute) {
        Ok(engine) => engine.ok_or_else(unknown),
        Err(ActivationError::NoInstitute) => Err(unknown()),
        Err(error @ ActivationError::Full) => {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string());
            Err(Problem { retry_after_seconds: Some(1), ..problem })
        }
    }
}

fn check_institute(institute: &str) -> Result<(), Problem> {
    match is_institute(institute) {
        true => Ok(()),
        false => Err(Problem::invalid_field("institute", "the institute is no domain name in lower case")),
    }
}

/// One more than `limit` was asked for, so that it is known whether there are more.
fn page<T, N>(mut found: Vec<T>, limit: u32, key: impl Fn(&T) -> N) -> Page<T, N> {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(key);
    Page { items: found, next }
}

/// The values of a query's parameters, by `names`. None of them needs characters that a query would have to encode.
fn parameters<'a, const N: usize>(
    query: Option<&'a str>,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    let mut values = [None; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = names.iter().position(|known| *known == name) else {
            return Err(Problem::invalid_field(name, "there is no such parameter here"));
        };
        if values[at].replace(value).is_some() {
            return Err(Problem::invalid_field(name, "the parameter stands twice"));
        }
    }
    Ok(values)
}

fn parsed<T: FromStr<Err: ToString>>(name: &str, value: Option<&str>) -> Result<Option<T>, Problem> {
    let parse =
        |value: &str| value.parse().map_err(|error: T::Err| Problem::invalid_field(name, error.to_string()));
    value.map(parse).transpose()
}

fn page_limit(value: Option<&str>) -> Result<u32, Problem> {
    let most = limits::MAX_OPERATOR_PAGE;
    match parsed("limit", value)?.unwrap_or(limits::OPERATOR_PAGE) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => {
            let problem =
                Problem::invalid_field("limit", format!("limit is {limit}, allowed are 1 to {most}"));
            Err(Problem { limit: Some(most.into()), ..problem })
        }
    }
}

fn json(value: &impl Serialize) -> Response<WasiBody> {
    let text = serde_json::to_vec(value).expect("figures are texts and numbers");
    let mut response = Response::new(whole_body(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
