//! Listening, and stopping in time.

use crate::app::App;
use crate::routes;
use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Requests that run when the signal comes have this long; then their connections are cut. With [`LAST_WORK_MAX`] it
/// stays under the 5 seconds that a supervisor grants.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How often what was counted is put together.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// What the blocking threads get after that.
pub(crate) const LAST_WORK_MAX: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or Ctrl-C, then drains.
pub(crate) async fn run(
    app: App,
    listen: SocketAddr,
    admin: Option<(SocketAddr, PrometheusHandle)>,
) -> anyhow::Result<()> {
    // Before the port is bound, so that no signal after the ready line is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let stopping = app.stopping.clone();
    if let Some((admin, collected)) = admin {
        serve_operators(app.clone(), admin, collected).await?;
    }
    let working = app.clone();
    let working = tokio::spawn(async move { working.work().await });
    let (auth, stop) = (app.auth.clone(), stopping.clone());
    let following = auth.clone();
    tokio::spawn(async move { following.follow_keys(stop).await });
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
    let drained = async {
        // What a worker has taken up and not done is taken up again when its lease ends.
        let (ended, _) = tokio::join!(serving, working);
        auth.drain().await;
        ended
    };
    match tokio::time::timeout(DRAIN_MAX, drained).await {
        Ok(ended) => Ok(ended??),
        Err(_) => {
            tracing::warn!(
                seconds = DRAIN_MAX.as_secs(),
                "requests, or what follows them, still run after the deadline, cutting them"
            );
            Ok(())
        }
    }
}

/// Serves metrics and health to operators until the process ends, so that the drain can be watched.
async fn serve_operators(app: App, admin: SocketAddr, collected: PrometheusHandle) -> anyhow::Result<()> {
    let listener = TcpListener::bind(admin).await.with_context(|| format!("cannot listen on {admin}"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "metrics http://{}/metrics", listener.local_addr()?)?;
    out.flush()?;
    drop(out);
    let upkeep = collected.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            // Else what histograms have seen is kept until somebody asks.
            upkeep.run_upkeep();
        }
    });
    tokio::spawn(axum::serve(listener, routes::operators(app, collected)).into_future());
    Ok(())
}

/// The one line that says that requests are answered, and where.
fn say_ready(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening http://{address}")?;
    out.flush()
}
