//! The components of the application, so that one can call another.

use crate::guest::{Guest, GuestFailure};
use crate::host::outbound_http::RequestContext;
use crate::identity;
use crate::route::{Route, RouteMatch};
use crate::spin_headers::SpinHeaders;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use wasmtime_wasi_http::{Error, WasiBody};

type Begin = Box<dyn Fn(&str) -> Box<dyn Send> + Send + Sync>;

/// By their ids. What runs on replaced code calls the others as they are now.
#[derive(Clone, Default)]
pub struct Siblings {
    guests: Arc<RwLock<BTreeMap<String, Weak<Guest>>>>,
    begin: Arc<OnceLock<Begin>>,
}

impl Siblings {
    /// Said when all components are loaded.
    pub fn set<'a>(&self, guests: impl IntoIterator<Item = &'a Arc<Guest>>) {
        let guests = guests.into_iter().map(|guest| (guest.id().to_owned(), Arc::downgrade(guest)));
        *self.guests.write().unwrap_or_else(PoisonError::into_inner) = guests.collect();
    }

    /// Said once, where institutes have databases: `begin` is told of each request to one of their components, with the
    /// institute, and what it returns is dropped when the request is answered.
    pub fn tell(&self, begin: impl Fn(&str) -> Box<dyn Send> + Send + Sync + 'static) {
        if self.begin.set(Box::new(begin)).is_err() {
            tracing::debug!("who is told of requests was known before");
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Guest>> {
        self.guests.read().unwrap_or_else(PoisonError::into_inner).get(id)?.upgrade()
    }

    /// Calls another component of the application, as Spin does: with the route `/...`, whatever its own routes are. Who asks is
    /// who asked for what is answered with it, and the called component's limit of a request's body holds.
    pub(super) async fn call(
        &self,
        guest: &Arc<Guest>,
        mut request: Request<WasiBody>,
        context: Option<&RequestContext>,
    ) -> Result<Response<WasiBody>, Error> {
        let route = Route::parse("/...").map_err(|_| Error::HttpRequestUriInvalid)?;
        let rest = request.uri().path().to_owned();
        let found = RouteMatch { route: &route, target: &(), parameters: Vec::new(), rest };
        let uri = request.uri().clone();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SpinHeaders::new(&route).set(request.headers_mut(), &found, &uri, here);
        // What a guest says under these names is not the host's word.
        identity::remove_host_headers(request.headers_mut());
        let institute = context.and_then(|context| context.add_identity(request.headers_mut()));
        let begun = match (&institute, self.begin.get()) {
            (Some(institute), Some(begin)) if guest.has_institute_database() => begin(institute),
            _ => Box::new(()),
        };
        let request = limited(request, guest.body_bytes_max())?;
        guest.handle(request, institute, begun).await.map_err(|failure| match failure {
            GuestFailure::Busy => Error::ConnectionLimitReached,
            GuestFailure::TimedOut => Error::HttpResponseTimeout,
            GuestFailure::Failed => Error::ConnectionTerminated,
        })
    }
}

fn limited(request: Request<WasiBody>, most: u64) -> Result<Request<WasiBody>, Error> {
    if request.body().size_hint().lower() > most {
        return Err(Error::HttpRequestBodySize(Some(most)));
    }
    let length = usize::try_from(most).unwrap_or(usize::MAX);
    Ok(request.map(|body| {
        let body = Limited::new(body, length).map_err(move |error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) if error.is::<LengthLimitError>() => Error::HttpRequestBodySize(Some(most)),
            Err(_) => Error::HttpProtocolError,
        });
        body.boxed_unsync()
    }))
}
