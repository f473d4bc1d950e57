//! Building the WebAssembly components.

use crate::cargo::{cargo, command, run};
use anyhow::{Context as _, bail};
use std::path::Path;

const TARGET: &str = "wasm32-wasip2";
const COMPONENTS: [&str; 3] = ["dashboards", "sync", "commands"];

/// Builds the application's components.
pub(crate) fn build() -> anyhow::Result<()> {
    let packages: Vec<&str> = COMPONENTS.iter().flat_map(|component| ["--package", component]).collect();
    build_packages(&packages)
}

/// Builds the small components that the edge host's tests and its benchmark run.
pub(crate) fn build_guests() -> anyhow::Result<()> {
    build_packages(&["--package", "host-guests", "--examples"])
}

fn build_packages(packages: &[&str]) -> anyhow::Result<()> {
    add_target()?;
    run(cargo(&["build", "--profile", "component", "--target", TARGET]).args(packages))
}

/// Asks rustup for the target's standard library unless it is there, however it came there.
fn add_target() -> anyhow::Result<()> {
    if has_target()? {
        return Ok(());
    }
    eprintln!("adding the Rust target {TARGET}, which the components are built for");
    let added = run(command("rustup").args(["target", "add", TARGET]));
    if let Err(error) = added {
        bail!(
            "the Rust target {TARGET} is missing and could not be added ({error:#}).\n\
             Run `rustup target add {TARGET}` where there is a network, or install Rust with rustup \
             (https://rustup.rs); a distribution's compiler usually has no {TARGET}."
        );
    }
    if !has_target()? {
        bail!("rustup added {TARGET} to another toolchain than the one in use: see `rustup show`");
    }
    Ok(())
}

fn has_target() -> anyhow::Result<bool> {
    let output = command("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot run rustc; install Rust with rustup (https://rustup.rs)")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}
