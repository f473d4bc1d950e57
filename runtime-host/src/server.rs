//! The listener: HTTP/1.1 and HTTP/2 without TLS, bounded in connections and patience, drained on stop.

use crate::front::Front;
use crate::limits;
use crate::threads::Threads;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

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

/// Serves until `stop`, then waits for the requests that run, at most [`limits::DRAIN_TIMEOUT`].
pub async fn serve(listener: TcpListener, front: Arc<Front>, threads: &Threads, stop: CancellationToken) {
    let builder = Arc::new(builder());
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = connections.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => connection(&builder, &graceful, &front, threads, (stream, peer), permit),
            // Out of file descriptors, most likely: others must end first.
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still running after {:?}", limits::DRAIN_TIMEOUT);
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_READ_TIMEOUT)
        .max_buf_size(limits::MAX_HEADER_BYTES + limits::MAX_TARGET_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::MAX_HTTP2_STREAMS)
        .max_header_list_size(limits::MAX_HEADER_BYTES as u32)
        .keep_alive_interval(limits::HEARTBEAT)
        .keep_alive_timeout(limits::HEARTBEAT);
    builder
}

fn connection(
    builder: &Arc<Builder<TokioExecutor>>,
    graceful: &GracefulShutdown,
    front: &Arc<Front>,
    threads: &Threads,
    (stream, peer): (TcpStream, SocketAddr),
    permit: OwnedSemaphorePermit,
) {
    // Answers are small: waiting for more to send costs 40 ms and saves nothing.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "TCP_NODELAY");
    }
    let front = front.clone();
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.handle(request, peer).await) }
    });
    let builder = builder.clone();
    let watcher = graceful.watcher();
    // Its socket is watched by the thread that serves it.
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, %peer, "connection"),
    };
    threads.spawn(async move {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, %peer, "connection"),
        };
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error = &*error as &dyn std::error::Error, %peer, "connection ended");
        }
        drop(permit);
    });
}
