//! `cargo xtask bench`: builds what is measured, then lets the benchmark measure it.

use crate::cargo::{cargo, command, program, root, run};
use crate::{components, packages, test_run};

/// The edge host beside others: `runtime-host/bench`.
pub(crate) fn host(arguments: &[String]) -> anyhow::Result<()> {
    packages::openssl()?;
    components::build()?;
    components::build_guests()?;
    build_programs()?;
    run(command(program("host-bench", true)).args(arguments))
}

/// Sync beside others, with real automerge-repo clients: `tests/benches/sync`.
pub(crate) fn sync(arguments: &[String]) -> anyhow::Result<()> {
    packages::openssl()?;
    packages::node()?;
    test_run::install_client(&root().join("tests/js"))?;
    test_run::install_client(&root().join("tests/js/sync-server"))?;
    components::build()?;
    build_programs()?;
    run(cargo(&["bench", "--workspace", "--bench", "sync", "--"]).args(arguments))
}

/// The origin beside its database alone: `tests/benches/origin`.
pub(crate) fn origin(arguments: &[String]) -> anyhow::Result<()> {
    packages::openssl()?;
    packages::postgres()?;
    packages::redis()?;
    build_programs()?;
    run(cargo(&["bench", "--workspace", "--bench", "origin", "--"]).args(arguments))
}

/// One choice of packages for all benchmarks: with another, cargo chooses other features and compiles much twice.
fn build_programs() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--release", "--workspace", "--bins"]))
}
