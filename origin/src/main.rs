//! The origin: records, documents, views and commands of coaching institutes, and the link to its edges.
//!
//! See ARCHITECTURE.md for what it serves.

mod app;
mod clock;
mod config;
mod routes;
mod server;
mod services;
mod store;
mod telemetry;
#[cfg(test)]
mod testing;

use anyhow::Context as _;
use app::App;
use clap::Parser as _;
use config::{Action, Cli, Config, KeysAction};
use services::documents::DocumentService;
use services::queue::QueueService;
use services::{auth, import, seed};
use std::process::ExitCode;
use std::time::Duration;
use store::{NO_INSTITUTE, OpenError, Store, StoredKey, WriteTx};

/// Exit code for a configuration that cannot be used (`EX_USAGE` of sysexits).
const EXIT_CONFIG: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(&cli.action) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rollcall-origin: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    telemetry::start(&config);
    let done = match &cli.action {
        Action::Serve(_) => serve(config),
        Action::Seed(_) => load_samples(&config),
        Action::Import(flags) => load_files(&config, flags),
        Action::Migrate(_) => migrate(config),
        Action::Keys(flags) => keys(&config, flags.action),
        Action::RebuildProjections(flags) => rebuild_projections(&config, &flags.institute),
        Action::Copy(_) => copy(&config),
        Action::Queue(flags) => queue(&config, &flags.action),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-origin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn open_store(config: &Config) -> Result<Store, OpenError> {
    match &config.postgres {
        Some(cluster) => Store::connect(cluster),
        None => Store::open(&config.data),
    }
}

fn serve(config: Config) -> anyhow::Result<()> {
    let store = open_store(&config)?;
    if config.seed {
        seed::load(&store, clock::unix_ms()).context("sample institutes")?;
    }
    if config.edge_secret.is_none() {
        tracing::warn!("no edge_secret is set: no edge is let in");
    }
    if config.parts.mail.is_none() {
        tracing::warn!("no way for mail is set: nobody can set a forgotten password");
    }
    // Before anything is counted.
    let admin =
        config.admin.map(|admin| telemetry::collect().map(|collected| (admin, collected))).transpose()?;
    let app = App::new(store, config.edge_secret, config.parts)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(server::run(app, config.listen, admin));
    // What still runs has had its time; the store's writer finishes its group when the last handle goes.
    runtime.shutdown_timeout(server::LAST_WORK_MAX);
    served
}

fn load_samples(config: &Config) -> anyhow::Result<()> {
    let store = open_store(config)?;
    let added = seed::load(&store, clock::unix_ms())?;
    println!("sample institutes loaded: {added} new records");
    Ok(())
}

fn load_files(config: &Config, flags: &config::ImportFlags) -> anyhow::Result<()> {
    let source = import::Source::read(&flags.source, &flags.institute)?;
    let store = open_store(config)?;
    let summary = import::run(&store, &flags.institute, source, None, flags.dry_run)?;
    print!("{summary}");
    Ok(())
}

fn migrate(config: Config) -> anyhow::Result<()> {
    let ran = match config.postgres {
        Some(cluster) => store::migrate(&cluster)?,
        // Opening the embedded store migrates it.
        None => Store::open(&config.data).map(|_| 0)?,
    };
    println!("the schema is up to date, {ran} migrations ran");
    Ok(())
}

fn rebuild_projections(config: &Config, institute: &str) -> anyhow::Result<()> {
    let rebuilt = DocumentService::new(open_store(config)?).rebuild_projections(institute)?;
    println!("{} documents projected, {} rows corrected", rebuilt.documents, rebuilt.corrected);
    Ok(())
}

fn queue(config: &Config, action: &config::QueueAction) -> anyhow::Result<()> {
    /// Most events that are listed: whoever has more set aside sees the reason in the first.
    const LISTED: u32 = 1_000;
    let queue = QueueService::new(open_store(config)?, config.parts.queue.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match action {
        config::QueueAction::List => {
            let figures = runtime.block_on(queue.figures())?;
            println!("{} wait, {} set aside", figures.waiting, figures.set_aside);
            for aside in runtime.block_on(queue.set_aside(NO_INSTITUTE, LISTED))? {
                let work = &aside.work;
                let since = jiff::Timestamp::from_millisecond(aside.set_aside_at)?;
                println!(
                    "{} {} {}: failed {} times, set aside {since}, last {}",
                    work.institute, work.revision, work.consumer, aside.failures, aside.fault
                );
            }
        }
        config::QueueAction::Replay { institute, revision } => {
            let replayed = runtime.block_on(queue.replay(institute, *revision))?;
            println!("{replayed} events will be done again");
        }
    }
    Ok(())
}

fn copy(config: &Config) -> anyhow::Result<()> {
    let cluster = config.postgres.as_ref().context("store.url names no Postgres database to copy to")?;
    for table in store::copy(&config.data, cluster)? {
        println!("{}: {} rows, content {}", table.table, table.rows, table.content);
    }
    Ok(())
}

fn keys(config: &Config, action: KeysAction) -> anyhow::Result<()> {
    let now = clock::unix_ms();
    match action {
        KeysAction::Rotate { lead } => {
            let lead = Duration::from_secs(lead.into());
            let done = on_keys(config, move |tx| auth::rotate_keys(tx, now, lead))?;
            println!(
                "key {} signs from {}; {} dead keys removed",
                done.kid,
                time(done.signs_from),
                done.removed
            );
        }
        KeysAction::List => {
            for StoredKey { kid, signs_from, .. } in on_keys(config, |tx| Ok(tx.signing_keys()?))? {
                println!("{kid} signs from {}", time(signs_from));
            }
        }
    }
    Ok(())
}

/// Works on the keys, beside the origin that runs on the embedded store, if one does.
fn on_keys<T: Send + 'static>(
    config: &Config,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, auth::AuthError> + Send + 'static,
) -> anyhow::Result<T> {
    if config.postgres.is_none() && config.data.join("origin.sqlite").exists() {
        return Ok(store::write_beside(&config.data, work)?);
    }
    let store = open_store(config)?;
    Ok(store.write_blocking(NO_INSTITUTE, work)?.value)
}

fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|error| error.to_string(), |time| time.to_string())
}
