//! What every test would make anew at a cost of seconds: a seeded origin store and compiled components.
//!
//! Made once, under the target folder, and copied by each test. A template is made anew when what it was made of has
//! changed: that is told by content, since a program is linked again for many reasons that do not matter here.

use crate::artefacts::{program, target, wasm, workspace};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fills `folder` with the store of an origin that has the sample institutes.
pub(crate) fn copy_seeded_origin(folder: &Path) {
    let root = workspace();
    let made_of = ["origin/migrations/sqlite", "origin/src/services/seed", "origin/src/services/seed.rs"];
    let template = template("origin", &made_of.map(|path| root.join(path)), |folder| {
        run(Command::new(program("rollcall-origin")).arg("seed").arg("--data").arg(folder));
    });
    copy(&template, folder);
}

/// Fills `folder` with what an edge keeps between starts and no test changes: compiled components.
pub(crate) fn copy_compiled_edge(folder: &Path) {
    let root = workspace();
    let components = ["dashboards", "sync", "commands"].map(wasm);
    // The compiler's version and its settings.
    let compiler = ["Cargo.lock", "runtime-host/src/engine.rs"].map(|path| root.join(path));
    let template = template("edge", &[&components[..], &compiler[..]].concat(), |folder| {
        let app = root.join("spin.toml");
        run(Command::new(program("rollcall-edge"))
            .arg("check")
            .arg("--app")
            .arg(app)
            .arg("--data")
            .arg(folder));
    });
    copy(&template, folder);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
}

/// The template that was made of these files, made now if it is not there. Tests in other processes wait meanwhile.
fn template(name: &str, made_of: &[PathBuf], make: impl FnOnce(&Path)) -> PathBuf {
    let folder = target().join("tmp/integration-tests");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let lock = File::create(folder.join(format!("{name}.lock"))).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    let ready = folder.join(format!("{name}-{:016x}", fingerprint(made_of)));
    if ready.exists() {
        return ready;
    }
    for old in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let of_this_name = old.file_name().to_string_lossy().starts_with(&format!("{name}-"));
        if of_this_name {
            fs::remove_dir_all(old.path()).expect("an old template can be removed");
        }
    }
    let new = folder.join(format!("{name}-new"));
    fs::create_dir_all(&new).expect("the target folder can be written");
    make(&new);
    fs::rename(&new, &ready).expect("a folder can be renamed in its parent");
    ready
}

fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    paths.iter().for_each(|path| hash(path, &mut hasher));
    hasher.finish()
}

fn hash(path: &Path, hasher: &mut DefaultHasher) {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        return paths.iter().for_each(|path| hash(path, hasher));
    }
    path.hash(hasher);
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).hash(hasher);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary folder can be written");
    for entry in fs::read_dir(from).expect("the template can be read").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("the template can be copied");
        }
    }
}
