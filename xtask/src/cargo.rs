//! Calling cargo, and other programs, from the workspace's root.

use crate::service::die_with_parent;
use anyhow::{Context as _, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where a program of the workspace is once it is built.
pub(crate) fn program(name: &str, release: bool) -> PathBuf {
    root().join("target").join(if release { "release" } else { "debug" }).join(name)
}

/// `program`, run in the workspace's root, ending when we end.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    die_with_parent(&mut command);
    command
}

/// `cargo` with `arguments`. What it builds is always below `target/`, where `spin.toml` looks for the components.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    // What `cargo run` told this program of its own package: build scripts that watch these variables (ring's does) would
    // run again, and half of the workspace be compiled again, whenever cargo is called with and without them in turn.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", root().join("target"));
    cargo
}

/// Runs `command` with its output shown as it comes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = short(command);
    let status = command.status().with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("{line} ended with {status}");
    }
    Ok(())
}

/// Whether `command` can be run and succeeds; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn short(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
