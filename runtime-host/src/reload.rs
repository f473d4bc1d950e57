//! A new version of the application takes the place of the one that runs: loaded beside it, and put in its place only when
//! everything is loaded. What runs ends on the old code; a version that cannot be loaded changes nothing.

use crate::app::{self, AppError};
use crate::application::Loader;
use crate::config::Config;
use crate::front::Front;
use crate::limits;
use crate::manifest::{Manifest, Rollcall};
use crate::watch::{Watch, Watched};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0} is another than when the edge started: that takes a new start")]
    Fixed(&'static str),
}

/// Replaces the application of one front.
pub struct Reloader {
    config: Config,
    loader: Arc<Loader>,
    front: Arc<Front>,
    fixed: Fixed,
    /// What the last attempt read.
    watched: Mutex<Watched>,
    metrics: ReloadMetrics,
}

/// What the parts of the edge that outlive an application were made from.
#[derive(PartialEq, Eq)]
struct Fixed {
    rollcall: Option<Rollcall>,
    origin: BTreeMap<&'static str, String>,
}

struct ReloadMetrics {
    done: Counter,
    unchanged: Counter,
    failed: Counter,
    stale: Gauge,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// Nothing that is loaded has changed; routes may have.
    Unchanged,
    /// These components run new code, or are new, or are gone.
    Changed(Vec<String>),
}

impl Fixed {
    fn of(manifest: &Manifest) -> Self {
        let rollcall = manifest.rollcall.clone().map(|rollcall| Rollcall { on_link_up: None, ..rollcall });
        let names = ["origin_url", "edge_id", "edge_secret"].into_iter().filter(|_| rollcall.is_some());
        let value = |name| manifest.variables.get(name).cloned().unwrap_or_default();
        let origin = names.map(|name| (name, value(name))).collect();
        Self { rollcall, origin }
    }

    fn check(&self, new: &Self) -> Result<(), ReloadError> {
        let sync = |fixed: &Self| fixed.rollcall.as_ref().and_then(|rollcall| rollcall.sync.clone());
        let cache = |fixed: &Self| fixed.rollcall.as_ref().and_then(|rollcall| rollcall.cache_store.clone());
        if self.rollcall.is_some() != new.rollcall.is_some() {
            return Err(ReloadError::Fixed("whether there is [application.tool.rollcall]"));
        }
        if sync(self) != sync(new) {
            return Err(ReloadError::Fixed("`sync` of [application.tool.rollcall]"));
        }
        if cache(self) != cache(new) {
            return Err(ReloadError::Fixed("`cache` of [application.tool.rollcall]"));
        }
        match self.origin.iter().find(|(name, value)| new.origin.get(*name) != Some(value)) {
            Some((name, _)) => Err(ReloadError::Fixed(match *name {
                "origin_url" => "the variable `origin_url`",
                "edge_id" => "the variable `edge_id`",
                _ => "the variable `edge_secret`",
            })),
            None => Ok(()),
        }
    }
}

impl ReloadMetrics {
    fn new() -> Self {
        let count = |result: &'static str| counter!(RELOADS, "result" => result);
        Self {
            done: count("done"),
            unchanged: count("unchanged"),
            failed: count("failed"),
            stale: gauge!(STALE),
        }
    }
}

impl Reloader {
    /// `manifest` is the one that `front` runs.
    pub fn new(config: Config, loader: Arc<Loader>, front: Arc<Front>, manifest: &Manifest) -> Self {
        let watched = Mutex::new(Watched::of(&config.app, Some(manifest)));
        let (fixed, metrics) = (Fixed::of(manifest), ReloadMetrics::new());
        Self { config, loader, front, fixed, watched, metrics }
    }

    /// Blocks while components compile. One at a time: nobody else calls this meanwhile.
    fn reload(&self) -> Result<Reloaded, ReloadError> {
        let manifest = app::manifest(&self.config).map_err(AppError::from)?;
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) =
            Watched::of(&self.config.app, Some(&manifest));
        self.fixed.check(&Fixed::of(&manifest))?;
        let new = self.loader.load(&manifest, Some(&self.front.application()))?;
        // Before anything asks for them by name.
        self.loader.shared().connections.siblings().set(new.guests());
        let old = self.front.replace(new);
        let new = self.front.application();
        if let Some(sync) = &self.front.sync
            && let Some(guest) = new.guest(&sync.component)
        {
            sync.institutes.replace_guest(guest);
        }
        // What waits may have been waiting for this very version.
        self.loader.delivery_wanted.notify_one();
        let gone = old.guests().filter(|guest| !new.shares(guest)).inspect(|guest| guest.retire());
        let mut changed: Vec<_> = gone.map(|guest| guest.id().to_owned()).collect();
        let added = new.guests().filter(|guest| old.guest(guest.id()).is_none());
        changed.extend(added.map(|guest| guest.id().to_owned()));
        Ok(if changed.is_empty() { Reloaded::Unchanged } else { Reloaded::Changed(changed) })
    }

    /// Reloads, and says in log and metrics what came of it.
    fn reload_and_tell(&self) {
        let started = Instant::now();
        let result = self.reload();
        let milliseconds = started.elapsed().as_millis() as u64;
        match result {
            Ok(Reloaded::Unchanged) => {
                self.metrics.unchanged.increment(1);
                self.metrics.stale.set(0.0);
                tracing::info!(milliseconds, "application reloaded: no component has changed");
            }
            Ok(Reloaded::Changed(components)) => {
                self.metrics.done.increment(1);
                self.metrics.stale.set(0.0);
                tracing::info!(milliseconds, ?components, "application reloaded");
            }
            Err(ReloadError::App(AppError::Stopped)) => {}
            Err(error) => {
                self.metrics.failed.increment(1);
                self.metrics.stale.set(1.0);
                tracing::error!("the new version is not used, the old one runs on: {error}");
            }
        }
    }

    fn watched(&self) -> Watched {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads whenever `wanted` says so and, with `watch`, whenever a file of the application has changed, until `stop`.
    pub async fn run(self: Arc<Self>, wanted: Arc<Notify>, watch: bool, stop: CancellationToken) {
        let changes = Arc::new(Notify::new());
        let mut watching = watch.then(|| Watch::start(&self.watched(), &changes));
        if watch {
            // What has changed since it was loaded and before it was watched.
            changes.notify_one();
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = wanted.notified() => {}
                () = changes.notified() => settled(&changes).await,
            }
            let before = self.watched();
            // Anew before the files are read, so that no change is missed, and folders that were made anew are watched again.
            if watching.is_some() {
                watching = Some(Watch::start(&before, &changes));
            }
            let (done, reloaded) = oneshot::channel();
            let reloader = self.clone();
            let runtime = tokio::runtime::Handle::current();
            let work = move || {
                let _entered = runtime.enter();
                reloader.reload_and_tell();
                // Nobody waits when the edge stops.
                let _ = done.send(());
            };
            if let Err(error) = std::thread::Builder::new().name("reload".into()).spawn(work) {
                tracing::error!("the application is not reloaded: thread: {error}");
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = reloaded => {}
            }
            let now = self.watched();
            if watching.is_some() && now != before {
                watching = Some(Watch::start(&now, &changes));
                // What has changed before they were watched is seen by another look.
                changes.notify_one();
            }
        }
    }
}

/// Waits until nothing changes any more: a build writes its files one after the other, and each in pieces.
async fn settled(changes: &Notify) {
    let quiet =
        async { while tokio::time::timeout(limits::WATCH_QUIET, changes.notified()).await.is_ok() {} };
    // Files that change all the time are reloaded now and then.
    let _ = tokio::time::timeout(limits::WATCH_QUIET_MAX, quiet).await;
}

const RELOADS: &str = "rollcall_edge_reloads_total";
const STALE: &str = "rollcall_edge_reload_failing";

/// Says what the metrics of this file mean, to whoever collects them.
pub fn describe() {
    describe_counter!(RELOADS, "Attempts to take a new version of the application, by what came of them.");
    describe_gauge!(
        STALE,
        "1 while the version on disk is not the one that runs, because it could not be loaded."
    );
}
