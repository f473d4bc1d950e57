//! Listening, and stopping in time.

use crate::app::App;
use crate::routes;
use anyhow::Context as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Requests that run when the signal comes have this long; then their connections are cut. With [`LAST_WORK_MAX`] it
/// stays under the 5 seconds that a supervisor grants.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// What the blocking threads get after that.
pub(crate) const LAST_WORK_MAX: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or Ctrl-C, then drains.
pub(crate) async fn run(app: App, listen: SocketAddr) -> anyhow::Result<()> {
    // Before the port is bound, so that no signal after the ready line is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let stopping = app.stopping.clone();
    let (auth, stop) = (app.auth.clone(), stopping.clone());
    tokio::spawn(async move { auth.follow_keys(stop).await });
    let service = routes::router(app).into_make_service_with_connect_info::<SocketAddr>();
    let drain = stopping.clone();
    let serving = axum::serve(listener, service)
        .with_graceful_shutdown(async move { drain.cancelled().await })
        .into_future();
    let serving = tokio::spawn(serving);
    say_ready(address)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stopping.cancel();
    match tokio::time::timeout(DRAIN_MAX, serving).await {
        Ok(ended) => Ok(ended??),
        Err(_) => {
            tracing::warn!(
                seconds = DRAIN_MAX.as_secs(),
                "requests still run after the deadline, cutting them"
            );
            Ok(())
        }
    }
}

/// The one line that says that requests are answered, and where.
fn say_ready(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening http://{address}")?;
    out.flush()
}
