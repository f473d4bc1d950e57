//! `rollcall-edge`: config, telemetry, application, serve, drain.

use clap::Parser as _;
use runtime_host::app::{self, App, AppError};
use runtime_host::config::{Cli, Command, Config, ConfigSources, DocumentsFlags, Flags, SessionsFlags};
use runtime_host::connection::ConnectionSettings;
use runtime_host::front::Front;
use runtime_host::inspect::Inspection;
use runtime_host::operator::{self, OperatorError};
use runtime_host::tls::ServerCertificate;
use runtime_host::{admin, limits, server};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(flags) => run(&flags, up),
        Command::Check(flags) => run(&flags, check),
        Command::Inspect(inspect) => run(&inspect.flags, |config| say(&config, inspect.json)),
        Command::Documents(documents) => run(&documents.flags, |config| ask_documents(&config, &documents)),
        Command::Sessions(sessions) => run(&sessions.flags, |config| ask_sessions(&config, &sessions)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags, command: impl FnOnce(Config) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let sources = ConfigSources::gather(flags);
    let config = sources.config()?;
    if flags.print_config {
        print!("{sources}");
        return Ok(());
    }
    start_telemetry(&config)?;
    command(config)
}

fn start_telemetry(config: &Config) -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.clone());
    let filter = EnvFilter::try_new(&filter).map_err(|e| anyhow::anyhow!("log filter `{filter}`: {e}"))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    Ok(())
}

fn check(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let _entered = runtime.enter();
    let app = App::load(&config, CancellationToken::new(), CancellationToken::new())?;
    if let Some(tls) = &config.tls {
        ServerCertificate::load(tls.files())?;
    }
    let routes = app.front.application().routes.iter().count();
    println!("{}: {routes} routes, all components load", config.app.display());
    Ok(())
}

fn say(config: &Config, json: bool) -> anyhow::Result<()> {
    let (manifest, runtime) = (app::manifest(config)?, app::runtime_config(config)?);
    let inspection = Inspection::of(config, &manifest, &runtime);
    let text = if json { serde_json::to_string_pretty(&inspection)? + "\n" } else { inspection.to_string() };
    // A reader that has seen enough, such as `head`, is no fault.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn ask_documents(config: &Config, flags: &DocumentsFlags) -> anyhow::Result<()> {
    unless_unread(operator::documents(config.admin, flags, &mut std::io::stdout().lock()).await)
}

#[tokio::main(flavor = "current_thread")]
async fn ask_sessions(config: &Config, flags: &SessionsFlags) -> anyhow::Result<()> {
    unless_unread(operator::sessions(config.admin, flags, &mut std::io::stdout().lock()).await)
}

/// A reader that has seen enough, such as `head`, is no fault.
fn unless_unread(result: Result<(), OperatorError>) -> anyhow::Result<()> {
    match result {
        Err(OperatorError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[tokio::main]
async fn up(config: Config) -> anyhow::Result<()> {
    let certificate = config.tls.as_ref().map(|tls| ServerCertificate::load(tls.files())).transpose()?;
    let listener = server::listen(&config.listen).await?;
    let admin = match config.admin {
        Some(address) => Some((server::listen(&address.to_string()).await?, admin::collect()?)),
        None => None,
    };
    let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
    // From here on, so that SIGHUP while components load is kept for later; without a handler it would end the edge.
    let hangup = signal(SignalKind::hangup())?;
    tokio::spawn(stop_on_signal(draining.clone(), config.http.drain_delay(), stop.clone())?);
    let (http, watch) = (config.http.clone(), config.watch);
    let mut app = match App::load_until(config, draining, stop.clone()).await {
        Ok(app) => app,
        Err(AppError::Stopped) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    app.start().await?;
    let address = listener.local_addr()?;
    let mut own = vec![address];
    if let Some((listener, metrics)) = admin {
        own.push(listener.local_addr()?);
        println!("metrics http://{}/metrics", listener.local_addr()?);
        tokio::spawn(admin::serve(listener, app.front.clone(), metrics));
    }
    app.listens_on(own);
    let tls = match &certificate {
        Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
        None => None,
    };
    announce(&listener, &app.front, tls.is_some())?;
    let reload = Arc::new(Notify::new());
    tokio::spawn(look(hangup, certificate, reload.clone()));
    tokio::spawn(app.reloader.clone().run(reload, watch, stop.clone()));
    let connections = Arc::new(ConnectionSettings::new(app.front.clone(), tls, http.patience()));
    app.answers_itself(&connections);
    server::serve(listener, connections, app.threads(), stop, http.drain_timeout()).await;
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, app.drain()).await.is_err() {
        tracing::warn!("components were still at work at the end");
    }
    Ok(())
}

/// Says where the routes are, as Spin does. `listening` is for programs that start this one.
fn announce(listener: &TcpListener, front: &Front, tls: bool) -> std::io::Result<()> {
    let url = format!("{}://{}", if tls { "https" } else { "http" }, listener.local_addr()?);
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nServing {url}\nAvailable Routes:")?;
    for (route, target) in front.application().routes.iter() {
        let wildcard = if route.as_str() == route.fixed_part() { "" } else { " (wildcard)" };
        writeln!(out, "  {}: {url}{}{wildcard}", target.name.component, route.fixed_part())?;
    }
    writeln!(out, "listening {url}")?;
    out.flush()
}

/// Looks for a new certificate now and then, and at once on SIGHUP, which asks for a reload of the application too.
async fn look(mut hangup: Signal, certificate: Option<Arc<ServerCertificate>>, reload: Arc<Notify>) {
    let mut look = tokio::time::interval(limits::CERTIFICATE_LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = hangup.recv() => reload.notify_one(),
        }
        match certificate.as_ref().map(|certificate| certificate.reload()) {
            Some(Ok(true)) => tracing::info!("the new certificate is in use"),
            Some(Ok(false)) | None => {}
            Some(Err(error)) => tracing::error!("the new certificate is not used: {error}"),
        }
    }
}

/// On SIGTERM or Ctrl-C cancels `draining`, and after `delay`, or at the second signal, `stop`.
fn stop_on_signal(
    draining: CancellationToken,
    delay: Duration,
    stop: CancellationToken,
) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        signalled().await;
        draining.cancel();
        // Either way it is time.
        let _ = tokio::time::timeout(delay, signalled()).await;
        stop.cancel();
    })
}
