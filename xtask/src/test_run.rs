//! `cargo xtask test`: everything that the tests need, then the tests.

use crate::cargo::{self, cargo, command, root, succeeds};
use crate::{components, up};
use anyhow::bail;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// The oldest Node.js that the JavaScript client of the tests runs on.
const NODE_MAJOR_MIN: u32 = 18;
/// The oldest Postgres that an origin runs on.
const POSTGRES_MIN: u32 = 15;

/// The runner's output comes last, and ends with its count.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    install_node()?;
    install_postgres()?;
    install_client(&root().join("tests/js"))?;
    components::build()?;
    components::build_guests()?;
    // Programs and tests in one go: apart, cargo would choose other features and compile much twice.
    cargo::run(&mut cargo(&["build", "--workspace", "--bins", "--tests"]))?;
    let mut tests = if install_nextest() {
        cargo(&["nextest", "run", "--workspace"])
    } else {
        cargo(&["test", "--workspace", "--tests"])
    };
    let status = tests.args(arguments).env(up::BUILT, "1").status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn node_major() -> Option<u32> {
    let output = command("node").arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

/// The unmodified automerge-repo client of the tests is JavaScript.
pub(crate) fn install_node() -> anyhow::Result<()> {
    let there = || {
        node_major().is_some_and(|major| major >= NODE_MAJOR_MIN) && succeeds(command("npm").arg("--version"))
    };
    if there() {
        return Ok(());
    }
    eprintln!("installing Node.js and npm, which the tests with an automerge-repo client need");
    if install_packages("nodejs npm", there) {
        return Ok(());
    }
    bail!(
        "the tests need Node.js {NODE_MAJOR_MIN} or later and npm: install them (https://nodejs.org) and try again"
    );
}

/// The tests of clusters start servers of their own; a server of the system is not touched.
fn install_postgres() -> anyhow::Result<()> {
    let there = || {
        let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let versions = installed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        versions.max().is_some_and(|version| version >= POSTGRES_MIN)
    };
    if there() {
        return Ok(());
    }
    eprintln!("installing the Postgres server, which the tests of clusters start");
    if install_packages("postgresql", there) {
        return Ok(());
    }
    bail!("the tests need a Postgres server of version {POSTGRES_MIN} or later in /usr/lib/postgresql");
}

/// Installs packages of the system; whether they are there at the end.
fn install_packages(packages: &str, there: impl Fn() -> bool) -> bool {
    let install = format!("DEBIAN_FRONTEND=noninteractive apt-get install --yes {packages}");
    [install.clone(), format!("apt-get update && {install}")].iter().any(|install| {
        let as_root =
            format!("if [ $(id -u) = 0 ]; then {install}; else sudo --non-interactive sh -c '{install}'; fi");
        cargo::run(command("sh").args(["-c", &as_root])).is_ok() && there()
    })
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
