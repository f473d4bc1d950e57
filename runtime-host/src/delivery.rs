//! Calls the component that keeps what waits for the origin: when the link comes up, while the component says that it has more,
//! and after a reload.

use crate::front::Front;
use crate::identity::INTERNAL_HEADER;
use crate::limits;
use crate::link::LinkState;
use crate::problem::whole_body;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// In the component's answers: how much still waits.
pub const PENDING_HEADER: &str = "rollcall-pending";

/// The application's deliveries.
pub struct Delivery {
    /// Knows the component that is called, if any.
    pub front: Arc<Front>,
    pub link: LinkState,
    /// Told when an answer to a client says that something waits.
    pub wanted: Arc<Notify>,
}

/// What one call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Done,
    /// So much still waits.
    Pending(u64),
    Failed,
}

/// How much an answer says is waiting.
pub fn pending(headers: &HeaderMap) -> u64 {
    headers.get(PENDING_HEADER).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

impl Delivery {
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                up = self.link.wait_for(Option::is_some) => if up.is_err() { return },
            }
            let mut link = self.link.clone();
            link.mark_unchanged();
            tokio::select! {
                () = stop.cancelled() => return,
                // Down, or another connection: begin anew.
                _ = link.changed() => {}
                () = self.deliver_all() => {}
            }
        }
    }

    /// Delivers for as long as the link is up.
    async fn deliver_all(&self) {
        let mut pause = limits::DELIVERY_BACKOFF;
        let mut last = u64::MAX;
        loop {
            match self.call().await {
                Call::Done => {
                    (pause, last) = (limits::DELIVERY_BACKOFF, u64::MAX);
                    self.wanted.notified().await;
                }
                // It gets on: no reason to wait.
                Call::Pending(count) if count < last => last = count,
                Call::Pending(count) => {
                    last = count;
                    self.wait(limits::DELIVERY_BACKOFF_MAX).await;
                }
                Call::Failed => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(limits::DELIVERY_BACKOFF_MAX);
                }
            }
        }
    }

    async fn wait(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.wanted.notified()).await;
    }

    async fn call(&self) -> Call {
        let Some((guest, path)) = self.front.application().link_up_call.clone() else { return Call::Done };
        let mut request = Request::new(whole_body(""));
        *request.method_mut() = Method::POST;
        match format!("http://localhost{path}").parse() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => {
                tracing::error!(%error, "on_link_up path");
                return Call::Failed;
            }
        }
        request.headers_mut().insert(INTERNAL_HEADER, HeaderValue::from_static("1"));
        match guest.handle(request, None, ()).await {
            Ok(response) if response.status().is_success() => match pending(response.headers()) {
                0 => Call::Done,
                count => Call::Pending(count),
            },
            Ok(response) => {
                let expected = response.status() == StatusCode::SERVICE_UNAVAILABLE;
                if !expected {
                    tracing::warn!(status = response.status().as_u16(), "on_link_up call");
                }
                Call::Failed
            }
            Err(failure) => {
                tracing::warn!("on_link_up call: {failure}");
                Call::Failed
            }
        }
    }
}
