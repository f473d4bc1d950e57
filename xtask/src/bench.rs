//! `cargo xtask bench host`: builds what is measured, then lets `runtime-host/bench` measure it.

use crate::cargo::{cargo, command, program, run};
use crate::components;

pub(crate) fn host(arguments: &[String]) -> anyhow::Result<()> {
    components::build_guests()?;
    run(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "runtime-host",
        "--package",
        "host-bench",
        "--bins",
    ]))?;
    run(command(program("host-bench", true)).args(arguments))
}
