//! `rollcall-edge`: config, telemetry, application, serve, drain.

use clap::Parser as _;
use runtime_host::app::{App, AppError};
use runtime_host::config::{Cli, Command, Config};
use runtime_host::{limits, server};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(flags) => Config::read(&flags).map_err(Into::into).and_then(up),
        Command::Check(flags) => Config::read(&flags).map_err(Into::into).and_then(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_telemetry(config: &Config) -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.clone());
    let filter = EnvFilter::try_new(&filter).map_err(|e| anyhow::anyhow!("log filter `{filter}`: {e}"))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    Ok(())
}

fn check(config: Config) -> anyhow::Result<()> {
    start_telemetry(&config)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let _entered = runtime.enter();
    let app = App::load(&config, CancellationToken::new())?;
    println!("{}: {} routes, all components load", config.app.display(), app.front.routes.iter().count());
    Ok(())
}

#[tokio::main]
async fn up(config: Config) -> anyhow::Result<()> {
    start_telemetry(&config)?;
    let listener = server::listen(&config.listen).await?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    let mut app = match App::load_until(config, stop.clone()).await {
        Ok(app) => app,
        Err(AppError::Stopped) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    app.start().await?;
    let address = listener.local_addr()?;
    app.listens_on(vec![address], Some(address));
    println!("listening http://{}", address);
    std::io::stdout().flush()?;
    server::serve(listener, app.front.clone(), app.threads(), stop).await;
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, app.drain()).await.is_err() {
        tracing::warn!("components were still at work at the end");
    }
    Ok(())
}

/// Cancels `stop` on SIGTERM or Ctrl-C.
fn stop_on_signal(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    })
}
