//! One request from the outside: health, identity, route, limits, then the component.

use crate::access::{AccessRecord, AnswerBody};
use crate::application::{Application, Endpoint, RouteAnswer, RouteTarget};
use crate::body::{self, LimitedBody};
use crate::connection_activity::RunningRequest;
use crate::delivery;
use crate::gathered::gather;
use crate::identity::{self, Asker, Identity, IdentityError};
use crate::limits;
use crate::manifest::StaticResponse;
use crate::problem::{Problem, whole_body};
use crate::proxies::{Forwarded, TrustedProxies};
use crate::request_target;
use crate::route::RouteMatch;
use crate::sync::institutes::{ActivationError, Institutes};
use crate::sync::session;
use crate::trace_context::TraceContext;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

/// Answers requests.
pub struct Front {
    /// What answers now; a reload puts another one in its place. Locked only while it is lent or replaced.
    application: RwLock<Arc<Application>>,
    /// None for a plain Spin application, whose components see to identity themselves.
    pub identity: Option<Arc<Identity>>,
    pub sync: Option<SyncFront>,
    pub proxies: TrustedProxies,
    /// Whether more requests are wanted. Those that come are answered nevertheless.
    draining: CancellationToken,
}

/// The WebSocket endpoint and the engines behind it.
pub struct SyncFront {
    pub path: String,
    /// The component that the engines run, by its id.
    pub component: String,
    pub institutes: Arc<Institutes>,
    /// Ends the sessions.
    pub stop: CancellationToken,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// The socket's other end.
    pub peer: SocketAddr,
    /// Whom the connection is for: another than the peer when a proxy said so in the PROXY protocol.
    pub address: SocketAddr,
    pub scheme: Scheme,
}

/// A request whose sender and place in a trace are known.
struct Arrival {
    request: Request<Incoming>,
    client: SocketAddr,
    trace: TraceContext,
}

/// Tells the institute's engine, when an instance that may have written to its log is gone.
pub struct LogChanged {
    institutes: Arc<Institutes>,
    institute: String,
}

impl LogChanged {
    /// Starts the engine, so that the institute's feed is followed from its first request on.
    pub fn begin(institutes: &Arc<Institutes>, institute: &str) -> Self {
        start_engine(institutes, institute);
        Self { institutes: institutes.clone(), institute: institute.to_owned() }
    }
}

fn start_engine(institutes: &Institutes, institute: &str) {
    if let Err(error) = institutes.activate(institute) {
        tracing::warn!(institute, "sync engine not started: {error}");
    }
}

impl Drop for LogChanged {
    fn drop(&mut self) {
        self.institutes.log_changed(&self.institute);
    }
}

impl Front {
    pub fn new(
        application: Application,
        identity: Option<Arc<Identity>>,
        sync: Option<SyncFront>,
        proxies: TrustedProxies,
        draining: CancellationToken,
    ) -> Self {
        let application = RwLock::new(Arc::new(application));
        Self { application, identity, sync, proxies, draining }
    }

    /// What answers now. Whoever holds it has it to the end, whatever replaces it meanwhile.
    pub fn application(&self) -> Arc<Application> {
        self.application.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets `application` answer from the next request on, and returns what answered before.
    pub fn replace(&self, application: Application) -> Arc<Application> {
        let mut current = self.application.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(application))
    }

    pub async fn handle(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        client: Client,
        running: RunningRequest,
    ) -> Response<AnswerBody> {
        request_target::detach(&mut request);
        // Room for what is added below, made once.
        request.headers_mut().reserve(limits::HEADERS_ADDED);
        let forwarded = self.proxies.read(request.headers_mut(), client.peer.ip(), client.address);
        let Forwarded { client: address, scheme, host } = forwarded;
        identity::remove_host_headers(request.headers_mut());
        let trace = TraceContext::enter(request.headers_mut());
        let mut record = AccessRecord::begin(&request, address.ip(), trace);
        let checked = check_headers(request.headers())
            .and_then(|()| request_target::normalise(&mut request, scheme.unwrap_or(client.scheme), host));
        let answer = match checked {
            Ok(()) => {
                let arrival = Arrival { request, client: address, trace };
                self.answer(arrival, &mut record).await
            }
            Err(problem) => {
                body::discard(request.into_body());
                Err(problem)
            }
        };
        let response = match answer {
            Ok(response) => {
                record.answered(response.status(), None);
                response
            }
            Err(problem) => {
                record.answered(problem.status, Some(problem.code));
                problem.into_response()
            }
        };
        response.map(|body| AnswerBody::new(body, record, running))
    }

    async fn answer(
        &self,
        arrival: Arrival,
        record: &mut AccessRecord,
    ) -> Result<Response<WasiBody>, Problem> {
        let path = arrival.request.uri().path().to_owned();
        if let Some(what) = path.strip_prefix(SPIN_PATHS) {
            body::discard(arrival.request.into_body());
            return self.of_spin(what);
        }
        if let Some(sync) = self.sync.as_ref().filter(|sync| sync.path == path) {
            return self.open_session(sync, arrival.request, record);
        }
        let application = self.application();
        match application.routes.find(&path) {
            Some(found) => {
                record.routed(&found.target.name);
                match &found.target.answer {
                    RouteAnswer::Component(endpoint) => {
                        self.run_component(arrival, &path, (&found, endpoint), record).await
                    }
                    RouteAnswer::Static(answer) => {
                        body::discard(arrival.request.into_body());
                        Ok(static_response(answer))
                    }
                }
            }
            None => {
                body::discard(arrival.request.into_body());
                self.health(&path).unwrap_or_else(|| Err(Problem::not_found()))
            }
        }
    }

    fn open_session(
        &self,
        sync: &SyncFront,
        request: Request<Incoming>,
        record: &mut AccessRecord,
    ) -> Result<Response<WasiBody>, Problem> {
        let identity = self.identity.as_ref().ok_or_else(Problem::not_found)?;
        let token = identity::bearer(request.headers()).or(identity::query_token(request.uri().query()));
        let claims = identity.verify(token).map_err(|error| error.problem())?;
        record.asked_by(&claims.inst);
        let engine = sync.institutes.activate(&claims.inst).map_err(|error| match error {
            ActivationError::NoInstitute => {
                Problem::new(StatusCode::FORBIDDEN, "forbidden", error.to_string())
            }
            ActivationError::Full => Problem::overloaded(),
        })?;
        session::accept(request, claims, identity.clone(), &sync.institutes, engine, sync.stop.clone())
    }

    /// Starts the engine of the asker's institute, so that its feed is followed from the first request on, and returns
    /// what tells it of changes to its log.
    fn activate(&self, asker: &Asker, endpoint: &Endpoint) -> Option<LogChanged> {
        let (sync, institute) = (self.sync.as_ref()?, asker.institute()?);
        if endpoint.guest.has_institute_database() {
            return Some(LogChanged::begin(&sync.institutes, institute));
        }
        start_engine(&sync.institutes, institute);
        None
    }

    async fn run_component(
        &self,
        arrival: Arrival,
        path: &str,
        (found, endpoint): (&RouteMatch<'_, RouteTarget>, &Endpoint),
        record: &mut AccessRecord,
    ) -> Result<Response<WasiBody>, Problem> {
        let Arrival { mut request, client, trace } = arrival;
        let method = request.method().clone();
        let limit = endpoint.manifest.body_bytes_max;
        let asker = self.identify(request.headers(), endpoint, path).map_err(|error| error.problem());
        let asker = match asker.and_then(|asker| check_length(&request, limit).map(|()| asker)) {
            Ok(asker) => asker,
            Err(problem) => {
                body::discard(request.into_body());
                return Err(problem);
            }
        };
        if let Asker::User(claims) = &asker {
            record.asked_by(&claims.inst);
            identity::set_identity(request.headers_mut(), claims);
        }
        let (mut parts, incoming) = request.into_parts();
        found.target.headers.set(&mut parts.headers, found, &parts.uri, client);
        parts.extensions.insert(trace);
        let (body, fault) = LimitedBody::new(incoming, limit);
        let request = Request::from_parts(parts, body.boxed_unsync());
        let institute = asker.institute().map(str::to_owned);
        let log_changed = self.activate(&asker, endpoint);
        let outcome = endpoint.guest.handle(request, institute, log_changed).await;
        if let Some(problem) = fault.problem(limit) {
            return Err(problem);
        }
        let mut response = outcome.map_err(|failure| failure.problem())?;
        if let Some(wanted) = &endpoint.delivery_wanted {
            if delivery::pending(response.headers()) > 0 {
                wanted.notify_one();
            }
            response.headers_mut().remove(delivery::PENDING_HEADER);
        }
        gather(&method, response).await.map_err(|error| match error {
            Error::HttpResponseTimeout => Problem::component_timeout(),
            error => {
                let component = endpoint.guest.id();
                tracing::warn!(component, ?error, "the answer's body failed before anything of it was sent");
                Problem::component_failed()
            }
        })
    }

    fn identify(&self, headers: &HeaderMap, endpoint: &Endpoint, path: &str) -> Result<Asker, IdentityError> {
        let Some(identity) = &self.identity else { return Ok(Asker::Anonymous) };
        let token = identity::bearer(headers);
        if endpoint.manifest.anonymous.find(path).is_some() {
            return identity.verify_if_present(token);
        }
        Ok(Asker::User(identity.verify(token)?))
    }

    /// What Spin answers itself below its own path.
    fn of_spin(&self, what: &str) -> Result<Response<WasiBody>, Problem> {
        match what {
            "health" => Ok(Response::new(whole_body("OK"))),
            "info" => Ok(json(self.application().info.clone())),
            _ => Err(Problem::not_found()),
        }
    }

    /// The host's own routes, unless the manifest routes them. They answer only once everything is loaded.
    pub fn health(&self, path: &str) -> Option<Result<Response<WasiBody>, Problem>> {
        match path {
            "/health" => {}
            "/health/ready" if self.draining.is_cancelled() => {
                return Some(Err(Problem::draining()));
            }
            "/health/ready" => {}
            _ => return None,
        }
        Some(Ok(json(Bytes::from_static(br#"{"status":"ok"}"#))))
    }
}

/// Answered by the host whatever the manifest routes, as Spin does.
const SPIN_PATHS: &str = "/.well-known/spin/";

fn json(text: Bytes) -> Response<WasiBody> {
    let mut response = Response::new(whole_body(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.len() > limits::MAX_HEADERS {
        let detail =
            format!("the request has {} headers, the limit is {}", headers.len(), limits::MAX_HEADERS);
        return Err(Problem::headers_too_large(detail, limits::MAX_HEADERS));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    match bytes > limits::MAX_HEADER_BYTES {
        true => {
            let detail =
                format!("the request's headers are {bytes} bytes, the limit is {}", limits::MAX_HEADER_BYTES);
            Err(Problem::headers_too_large(detail, limits::MAX_HEADER_BYTES))
        }
        false => Ok(()),
    }
}

/// Refuses a body that says beforehand that it is too long, before a byte of it is read.
fn check_length(request: &Request<Incoming>, limit: u64) -> Result<(), Problem> {
    match request.body().size_hint().lower() > limit {
        true => Err(Problem::body_too_large(limit)),
        false => Ok(()),
    }
}

fn static_response(answer: &StaticResponse) -> Response<WasiBody> {
    let mut response = Response::new(whole_body(answer.body.clone()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.clone();
    response
}
