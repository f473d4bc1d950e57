//! What must come from the system's packages. On a system without apt the messages say what to install.

use crate::cargo::{self, command, succeeds};
use anyhow::bail;
use std::path::Path;

/// The oldest Node.js that the JavaScript client of the tests runs on.
const NODE_MAJOR_MIN: u32 = 18;
/// The oldest Postgres that an origin runs on.
const POSTGRES_MIN: u32 = 15;

fn node_major() -> Option<u32> {
    let output = command("node").arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

/// The unmodified automerge-repo client of the tests is JavaScript.
pub(crate) fn node() -> anyhow::Result<()> {
    let there = || {
        node_major().is_some_and(|major| major >= NODE_MAJOR_MIN) && succeeds(command("npm").arg("--version"))
    };
    if there() {
        return Ok(());
    }
    eprintln!("installing Node.js and npm, which the tests with an automerge-repo client need");
    if install("nodejs npm", there) {
        return Ok(());
    }
    bail!(
        "the tests need Node.js {NODE_MAJOR_MIN} or later and npm: install them (https://nodejs.org) and try again"
    );
}

/// The tests of clusters start servers of their own; a server of the system is not touched.
pub(crate) fn postgres() -> anyhow::Result<()> {
    let there = || {
        let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let versions = installed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        versions.max().is_some_and(|version| version >= POSTGRES_MIN)
    };
    if there() {
        return Ok(());
    }
    eprintln!("installing the Postgres server, which the tests of clusters start");
    if install("postgresql", there) {
        return Ok(());
    }
    bail!("the tests need a Postgres server of version {POSTGRES_MIN} or later in /usr/lib/postgresql");
}

/// Tests of failovers let Patroni run a cluster of their own, with etcd as its memory.
pub(crate) fn patroni() -> anyhow::Result<()> {
    let there =
        || succeeds(command("patroni").arg("--version")) && succeeds(command("etcd").arg("--version"));
    if there() {
        return Ok(());
    }
    eprintln!("installing Patroni and etcd, which tests of failovers start");
    if install("patroni etcd-server", there) {
        return Ok(());
    }
    bail!("the tests need patroni and etcd: install them (on Debian `patroni etcd-server`) and try again");
}

/// schemathesis, which calls the origin by its own description, is Python.
pub(crate) fn python() -> anyhow::Result<()> {
    let there = || succeeds(command("python3").args(["-c", "import venv, ensurepip"]));
    if there() {
        return Ok(());
    }
    eprintln!("installing Python, which schemathesis needs");
    if install("python3 python3-venv", there) {
        return Ok(());
    }
    bail!("the tests need Python 3 with its module venv: install them and try again");
}

/// Tests of what is kept in Redis start servers of their own.
pub(crate) fn redis() -> anyhow::Result<()> {
    let there = || succeeds(command("redis-server").arg("--version"));
    if there() {
        return Ok(());
    }
    eprintln!("installing the Redis server, which tests start");
    if install("redis-server", there) {
        return Ok(());
    }
    bail!("the tests need redis-server: install it and try again");
}

/// Tests of the queue start brokers of their own; a broker of the system is not touched.
pub(crate) fn rabbitmq() -> anyhow::Result<()> {
    let there = || Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists();
    if there() {
        return Ok(());
    }
    eprintln!("installing RabbitMQ, which the tests of the queue start");
    if install("rabbitmq-server", there) {
        return Ok(());
    }
    bail!(
        "the tests need /usr/lib/rabbitmq/bin/rabbitmq-server: install it (on Debian `rabbitmq-server`) and try again"
    );
}

/// The tests let Prometheus judge the metrics.
pub(crate) fn promtool() -> anyhow::Result<()> {
    let there = || succeeds(command("promtool").arg("--version"));
    if there() {
        return Ok(());
    }
    eprintln!("installing promtool, which checks the metrics in the tests");
    if install("prometheus", there) {
        return Ok(());
    }
    bail!("the tests need promtool, which comes with Prometheus: install it and try again");
}

/// The origin's TLS to Postgres is the system's OpenSSL, whose headers the build needs.
pub(crate) fn openssl() -> anyhow::Result<()> {
    let there = || succeeds(command("pkg-config").args(["--exists", "openssl"]));
    // Elsewhere the build finds the system's own TLS, or an OpenSSL that it is told of.
    if !cfg!(target_os = "linux") || std::env::var_os("OPENSSL_DIR").is_some() || there() {
        return Ok(());
    }
    eprintln!("installing OpenSSL's headers and pkg-config, which the build needs");
    if install("libssl-dev pkg-config", there) {
        return Ok(());
    }
    bail!(
        "the build needs OpenSSL's headers and pkg-config: install them (on Debian `libssl-dev pkg-config`) and try again"
    );
}

/// Debian starts a server when it is installed, unless `policy-rc.d` says no (invoke-rc.d(8)): what tests need are the
/// programs, and a service on its usual port could disturb somebody.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes "$@" || { apt-get update && apt-get install --yes "$@"; }
"#;
const AS_ROOT: &str = r#"if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo --non-interactive "$@"; fi"#;

/// Installs packages of the system; whether they are there at the end.
fn install(packages: &str, there: impl Fn() -> bool) -> bool {
    let mut install = command("sh");
    install.args(["-c", AS_ROOT, "as-root", "sh", "-c", INSTALL, "install"]);
    cargo::run(install.args(packages.split(' '))).is_ok() && there()
}
