//! One request from the outside: health, identity, route, limits, then the component.

use crate::body::{self, LimitedBody};
use crate::delivery;
use crate::guest::Guest;
use crate::identity::{self, Asker, Identity, IdentityError};
use crate::limits;
use crate::manifest::{Component, StaticResponse};
use crate::problem::{Problem, whole_body};
use crate::route::{RouteMatch, Routes};
use crate::spin_headers::SpinHeaders;
use crate::sync::institutes::{ActivationError, Institutes};
use crate::sync::session;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::WasiBody;

/// Answers requests.
pub struct Front {
    pub routes: Routes<RouteAnswer>,
    /// None for a plain Spin application, whose components see to identity themselves.
    pub identity: Option<Arc<Identity>>,
    pub sync: Option<SyncFront>,
}

/// The WebSocket endpoint and the engines behind it.
pub struct SyncFront {
    pub path: String,
    pub institutes: Arc<Institutes>,
    /// Ends the sessions.
    pub stop: CancellationToken,
}

/// What answers the requests of a route.
pub enum RouteAnswer {
    Component(Arc<Endpoint>),
    Static(Arc<StaticResponse>),
}

/// A component with what the manifest says about requests to it.
pub struct Endpoint {
    pub guest: Arc<Guest>,
    pub manifest: Component,
    /// Told when an answer says that something waits for the origin.
    pub delivery_wanted: Option<Arc<Notify>>,
}

/// Tells the institute's engine, when an instance that may have written to its log is gone.
struct LogChanged {
    institutes: Arc<Institutes>,
    institute: String,
}

impl Drop for LogChanged {
    fn drop(&mut self) {
        self.institutes.log_changed(&self.institute);
    }
}

impl Front {
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Response<WasiBody> {
        let started = Instant::now();
        // Without the query, which may hold a token.
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.answer(request, peer).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
        let milliseconds = started.elapsed().as_millis() as u64;
        tracing::info!(target: "access", %method, path, status = response.status().as_u16(), milliseconds, %peer);
        response
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<WasiBody>, Problem> {
        if request
            .uri()
            .path_and_query()
            .is_some_and(|target| target.as_str().len() > limits::MAX_TARGET_BYTES)
        {
            body::discard(request.into_body());
            let detail = format!("the target is over {} bytes", limits::MAX_TARGET_BYTES);
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", detail));
        }
        let path = request.uri().path().to_owned();
        if let Some(sync) = self.sync.as_ref().filter(|sync| sync.path == path) {
            return self.open_session(sync, request);
        }
        match self.routes.find(&path) {
            Some(found) => match found.target {
                RouteAnswer::Component(endpoint) => {
                    self.run_component(request, &path, (&found, endpoint), peer).await
                }
                RouteAnswer::Static(answer) => {
                    body::discard(request.into_body());
                    Ok(static_response(answer))
                }
            },
            None => health(&path).ok_or_else(|| {
                body::discard(request.into_body());
                Problem::not_found()
            }),
        }
    }

    fn open_session(
        &self,
        sync: &SyncFront,
        request: Request<Incoming>,
    ) -> Result<Response<WasiBody>, Problem> {
        let identity = self.identity.as_ref().ok_or_else(Problem::not_found)?;
        let token = identity::bearer(request.headers()).or(identity::query_token(request.uri().query()));
        let claims = identity.verify(token).map_err(|error| error.problem())?;
        let engine = sync.institutes.activate(&claims.inst).map_err(|error| match error {
            ActivationError::NoInstitute => {
                Problem::new(StatusCode::FORBIDDEN, "forbidden", error.to_string())
            }
            ActivationError::Full => Problem::overloaded(),
        })?;
        session::accept(request, &claims, &sync.institutes, engine, sync.stop.clone())
    }

    /// Starts the engine of the asker's institute, so that its feed is followed from the first request on, and returns
    /// what tells it of changes to its log.
    fn activate(&self, asker: &Asker, endpoint: &Endpoint) -> Option<LogChanged> {
        let (sync, institute) = (self.sync.as_ref()?, asker.institute()?);
        if let Err(error) = sync.institutes.activate(institute) {
            tracing::warn!(institute, "sync engine not started: {error}");
        }
        endpoint
            .guest
            .has_institute_database()
            .then(|| LogChanged { institutes: sync.institutes.clone(), institute: institute.to_owned() })
    }

    async fn run_component(
        &self,
        mut request: Request<Incoming>,
        path: &str,
        (found, endpoint): (&RouteMatch<'_, RouteAnswer>, &Endpoint),
        peer: SocketAddr,
    ) -> Result<Response<WasiBody>, Problem> {
        let headers = request.headers_mut();
        identity::remove_host_headers(headers);
        let checked = self.identify(headers, endpoint, path).map_err(|error| error.problem());
        let checked = checked.and_then(|asker| {
            check_length(&request, endpoint.manifest.body_bytes_max)?;
            let authority = authority(&request)?;
            Ok((asker, authority))
        });
        let (asker, authority) = match checked {
            Ok(checked) => checked,
            Err(problem) => {
                body::discard(request.into_body());
                return Err(problem);
            }
        };
        if let Asker::User(claims) = &asker {
            identity::set_identity(request.headers_mut(), claims);
        }
        let (mut parts, incoming) = request.into_parts();
        parts.uri = absolute(&parts.uri, authority)?;
        SpinHeaders::new(found.route).set(&mut parts.headers, found, &parts.uri, peer);
        let (body, exceeded) = LimitedBody::new(incoming, endpoint.manifest.body_bytes_max);
        let request = Request::from_parts(parts, body.boxed_unsync());
        let institute = asker.institute().map(str::to_owned);
        let log_changed = self.activate(&asker, endpoint);
        let outcome = endpoint.guest.handle(request, institute, log_changed).await;
        if exceeded.get() {
            return Err(Problem::body_too_large(endpoint.manifest.body_bytes_max));
        }
        let mut response = outcome.map_err(|failure| failure.problem())?;
        if let Some(wanted) = &endpoint.delivery_wanted {
            if delivery::pending(response.headers()) > 0 {
                wanted.notify_one();
            }
            response.headers_mut().remove(delivery::PENDING_HEADER);
        }
        Ok(response)
    }

    fn identify(&self, headers: &HeaderMap, endpoint: &Endpoint, path: &str) -> Result<Asker, IdentityError> {
        let Some(identity) = &self.identity else { return Ok(Asker::Anonymous) };
        let token = identity::bearer(headers);
        if endpoint.manifest.anonymous.find(path).is_some() {
            return identity.verify_if_present(token);
        }
        Ok(Asker::User(Box::new(identity.verify(token)?)))
    }
}

/// The host's own routes, unless the manifest routes them. They answer only once everything is loaded, so the two are one.
fn health(path: &str) -> Option<Response<WasiBody>> {
    if !matches!(path, "/health" | "/health/ready") {
        return None;
    }
    let mut response = Response::new(whole_body(r#"{"status":"ok"}"#));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(response)
}

/// Refuses a body that says beforehand that it is too long, before a byte of it is read.
fn check_length(request: &Request<Incoming>, limit: u64) -> Result<(), Problem> {
    match request.body().size_hint().lower() > limit {
        true => Err(Problem::body_too_large(limit)),
        false => Ok(()),
    }
}

/// The host that the client asked for: guests build absolute addresses with it.
fn authority(request: &Request<Incoming>) -> Result<Authority, Problem> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.clone());
    }
    let Some(host) = request.headers().get(header::HOST) else {
        // HTTP/1.0 knows no Host.
        return Ok(Authority::from_static("localhost"));
    };
    Authority::try_from(host.as_bytes())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad-host", "the Host header is no host"))
}

fn absolute(uri: &Uri, authority: Authority) -> Result<Uri, Problem> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad-target", "the target is no path"))
}

fn static_response(answer: &StaticResponse) -> Response<WasiBody> {
    let mut response = Response::new(whole_body(answer.body.clone()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.clone();
    response
}
