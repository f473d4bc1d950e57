//! Requests to `self`: served in this process by the same front as those of clients, whatever clients speak to it. No port is
//! involved, so that neither TLS nor a proxy's header stands between.

use super::connector::{ConnectError, Stream};
use crate::limits;
use http::Uri;
use hyper_util::rt::TokioIo;
use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::DuplexStream;
use wasmtime_wasi_http::Error;

type Serve = Box<dyn Fn(DuplexStream) + Send + Sync>;

/// What answers this host's own clients, known once that does.
#[derive(Clone, Default)]
pub struct Itself(Arc<OnceLock<Serve>>);

impl Itself {
    /// Said once. `serve` is given the other end of each connection, within an asynchronous runtime.
    pub fn set(&self, serve: impl Fn(DuplexStream) + Send + Sync + 'static) {
        if self.0.set(Box::new(serve)).is_err() {
            tracing::debug!("who answers was known before");
        }
    }

    pub(super) fn is_served(&self) -> bool {
        self.0.get().is_some()
    }
}

/// Makes the connections.
#[derive(Clone)]
pub(super) struct ToItself(pub(super) Itself);

impl tower::Service<Uri> for ToItself {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Ready<Result<Stream, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Some(serve) = self.0.0.get() else {
            return ready(Err(ConnectError(Error::DestinationUnavailable)));
        };
        let (ours, theirs) = tokio::io::duplex(limits::ITSELF_BUFFER);
        serve(theirs);
        ready(Ok(Stream::Local(TokioIo::new(ours))))
    }
}
