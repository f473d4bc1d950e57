//! The listener: takes connections, bounded in number, and drains on stop.

use crate::connection::ConnectionSettings;
use crate::limits;
use crate::threads::Threads;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is in use by another program; choose another --listen")]
    InUse(String),
    #[error("listen on {address}: {source}")]
    Io { address: String, source: std::io::Error },
}

/// Takes the port, so that a taken one is known before anything else starts.
pub async fn listen(address: &str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() == std::io::ErrorKind::AddrInUse {
        true => ListenError::InUse(address.to_owned()),
        false => ListenError::Io { address: address.to_owned(), source },
    })
}

/// Serves until `stop`, then waits for the requests that run, at most `drain_timeout`.
pub async fn serve(
    listener: TcpListener,
    settings: Arc<ConnectionSettings>,
    threads: &Threads,
    stop: CancellationToken,
    drain_timeout: Duration,
) {
    let slots = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    let open = metrics::gauge!(CONNECTIONS);
    let running = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small: waiting for more to send costs 40 ms and saves nothing.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "TCP_NODELAY");
        }
        let (settings, open, stop) = (settings.clone(), open.clone(), stop.child_token());
        // Its socket is watched by the thread that serves it.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, %peer, "connection");
                continue;
            }
        };
        threads.spawn(running.track_future(async move {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!(%error, %peer, "connection"),
            };
            open.increment(1);
            if let Err(error) = settings.serve(stream, peer, slot, stop).await {
                tracing::debug!(%peer, "connection ended: {error}");
            }
            open.decrement(1);
        }));
    }
    drop(listener);
    running.close();
    if tokio::time::timeout(drain_timeout, running.wait()).await.is_err() {
        tracing::warn!("{} connections still had requests after {drain_timeout:?}", running.len());
    }
}

pub const CONNECTIONS: &str = "rollcall_edge_http_connections";

/// Says what the metrics of this file mean, to whoever collects them.
pub fn describe() {
    metrics::describe_gauge!(CONNECTIONS, "Open connections of clients, WebSockets not included.");
}
