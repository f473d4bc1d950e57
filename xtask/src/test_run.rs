//! `cargo xtask test`: everything that the tests need, then the tests.

use crate::cargo::{self, cargo, command, root, succeeds};
use crate::{components, packages, up};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// The runner's output comes last, and ends with its count.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    packages::openssl()?;
    packages::node()?;
    packages::postgres()?;
    packages::patroni()?;
    packages::python()?;
    install_schemathesis()?;
    packages::redis()?;
    packages::rabbitmq()?;
    packages::promtool()?;
    install_client(&root().join("tests/js"))?;
    components::build()?;
    components::build_guests()?;
    // Programs and tests in one go: apart, cargo would choose other features and compile much twice.
    cargo::run(&mut cargo(&["build", "--workspace", "--bins", "--tests"]))?;
    let mut tests = if install_nextest() {
        cargo(&["nextest", "run", "--workspace", "--bins", "--tests"])
    } else {
        cargo(&["test", "--workspace", "--tests"])
    };
    let status = tests.args(arguments).env(up::BUILT, "1").status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Installs the client's packages unless they are as the lock file says.
pub(crate) fn install_client(folder: &Path) -> anyhow::Result<()> {
    let changed = |file: &str| -> Option<SystemTime> { folder.join(file).metadata().ok()?.modified().ok() };
    let current = changed("node_modules/.package-lock.json") >= changed("package-lock.json");
    if current {
        return Ok(());
    }
    let mut install = command("npm");
    install.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    cargo::run(&mut install)
}

/// Installs schemathesis unless it is as the list of its packages says.
fn install_schemathesis() -> anyhow::Result<()> {
    let (wanted, folder) =
        (root().join("tests/schemathesis/requirements.txt"), root().join("target/schemathesis"));
    let installed = folder.join("requirements.txt");
    if std::fs::read(&installed).ok() == Some(std::fs::read(&wanted)?) {
        return Ok(());
    }
    cargo::run(command("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut install = command(folder.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted);
    cargo::run(&mut install)?;
    std::fs::copy(&wanted, &installed)?;
    Ok(())
}

/// Says whether cargo-nextest is there at the end. Without it the tests run too, slower.
fn install_nextest() -> bool {
    let there = || succeeds(&mut cargo(&["nextest", "--version"]));
    if there() {
        return true;
    }
    eprintln!("installing cargo-nextest, which runs the tests");
    let mut install = cargo(&["install", "cargo-nextest", "--locked"]);
    let installed = cargo::run(install.env_remove("CARGO_TARGET_DIR")).is_ok() && there();
    if !installed {
        eprintln!("cargo-nextest could not be installed; `cargo test` runs the tests");
    }
    installed
}
