//! What every test would make anew at a cost of seconds: a seeded origin store and compiled components.
//!
//! Made once for each build of the programs, under the target folder, and copied by each test.

use crate::artefacts::{program, target, wasm, workspace};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fills `folder` with the store of an origin that has the sample institutes.
pub(crate) fn copy_seeded_origin(folder: &Path) {
    let origin = program("rollcall-origin");
    let template = template("origin", std::slice::from_ref(&origin), |folder| {
        run(Command::new(&origin).arg("seed").arg("--data").arg(folder));
    });
    copy(&template, folder);
}

/// Fills `folder` with what an edge keeps between starts and no test changes: compiled components.
pub(crate) fn copy_compiled_edge(folder: &Path) {
    let edge = program("rollcall-edge");
    let made_of = [edge.clone(), wasm("dashboards"), wasm("sync"), wasm("commands")];
    let template = template("edge", &made_of, |folder| {
        let app = workspace().join("spin.toml");
        run(Command::new(&edge).arg("check").arg("--app").arg(app).arg("--data").arg(folder));
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

/// Changes with every build.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let metadata = file.metadata().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (metadata.len(), metadata.modified().expect("files have times")).hash(&mut hasher);
    }
    hasher.finish()
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
