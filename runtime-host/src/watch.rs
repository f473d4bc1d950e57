//! Which files make the application, and who says when one of them changes.

use crate::manifest::{GuestFiles, Manifest};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// The files that an application is loaded from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    files: BTreeSet<PathBuf>,
    /// Folders in which any change counts: files may come that a pattern of the manifest names.
    folders: BTreeSet<PathBuf>,
}

/// Watches until it is dropped.
pub(crate) struct Watch {
    _watcher: Option<RecommendedWatcher>,
}

impl Watched {
    /// Without a manifest that can be read, the manifest alone.
    pub(crate) fn of(app: &Path, manifest: Option<&Manifest>) -> Self {
        let mut watched = Self::default();
        watched.add_file(app);
        watched.add_file(&app.with_file_name(".env"));
        for component in manifest.iter().flat_map(|manifest| manifest.components.values()) {
            watched.add_file(&component.source);
            component.dependencies.iter().for_each(|dependency| watched.add_file(&dependency.path));
            match &component.files {
                GuestFiles::None => {}
                // Guests see what stands there, so that nothing has to be loaded anew.
                GuestFiles::Folder(_) => {}
                GuestFiles::Copies(files) => {
                    watched.folders.extend(files.iter().filter_map(|file| folder_of(&file.source)));
                }
            }
        }
        watched
    }

    fn add_file(&mut self, path: &Path) {
        let Some(folder) = folder_of(path) else { return };
        // Behind a link the file changes elsewhere, and the link itself may be one of several.
        if path.is_symlink() {
            self.folders.extend(path.canonicalize().ok().as_deref().and_then(folder_of));
            self.folders.insert(folder.clone());
        }
        if let Some(name) = path.file_name() {
            self.files.insert(folder.join(name));
        }
    }

    fn contains(&self, path: &Path) -> bool {
        self.files.contains(path)
            || path.parent().is_some_and(|folder| self.folders.contains(folder))
            || self.folders.contains(path)
            // A folder on the way that has come or gone.
            || self.files.iter().any(|file| file.starts_with(path))
    }
}

/// The folder of a file, or what is left of the way to it.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().skip(1).find_map(|folder| {
        let found = folder.canonicalize().ok()?;
        let rest = absolute.parent()?.strip_prefix(folder).ok()?;
        Some(found.join(rest))
    })
}

impl Watch {
    /// Tells `changes` of each change. What cannot be watched is said in the log, and the rest is.
    pub(crate) fn start(watched: &Watched, changes: &Arc<Notify>) -> Self {
        let (files, told) = (watched.clone(), changes.clone());
        let tell = move |event: notify::Result<notify::Event>| match event {
            // Reading changes nothing.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) if event.need_rescan() || event.paths.iter().any(|path| files.contains(path)) => {
                told.notify_one();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "watching files"),
        };
        let mut watcher = match notify::recommended_watcher(tell) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::error!(%error, "files are not watched; SIGHUP reloads");
                return Self { _watcher: None };
            }
        };
        let folders = watched.files.iter().filter_map(|file| file.parent()).map(Path::to_owned);
        let folders: BTreeSet<_> = folders.chain(watched.folders.iter().cloned()).collect();
        for folder in folders {
            // One that is not there yet is seen when it comes.
            let Some(folder) = folder.ancestors().find(|folder| folder.is_dir()) else { continue };
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "a folder is not watched");
            }
        }
        Self { _watcher: Some(watcher) }
    }
}
