//! The edge host beside a plain hyper server, `wasmtime serve` and `spin`, driven by `wrk` in turn in one run.
//!
//! Absolute figures mean little on a shared machine; the ratios of one round, and their median over the rounds, do.

mod plain_hyper;
mod report;
mod server;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use server::{Kind, Server};
use std::path::PathBuf;
use test_servers::wrk::{self, Load};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// How often each server is measured in each scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Only what contains this in its name: a scenario's, `start` or `idle`.
    #[arg(long)]
    only: Option<String>,
    /// Folder with the built guests.
    #[arg(long, default_value = "target/wasm32-wasip2/component/examples")]
    guests: PathBuf,
    /// The edge host to measure.
    #[arg(long, default_value = "target/release/rollcall-edge")]
    edge: PathBuf,
    /// The application whose start is measured, components built.
    #[arg(long, default_value = "spin.toml")]
    application: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Does what a guest does without a guest, on one thread. Started by the benchmark itself.
    PlainHyper {
        #[arg(long)]
        listen: String,
        /// As the guest `merge` does; else as `hello`.
        #[arg(long)]
        merge: bool,
    },
}

/// One guest under one load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    guest: &'static str,
    connections: u32,
    servers: &'static [Kind],
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hello, WASI 0.3, 64 connections",
        guest: "hello",
        connections: 64,
        servers: &[Kind::Edge, Kind::PlainHyper, Kind::WasmtimeServe, Kind::Spin],
    },
    Scenario {
        name: "hello, WASI 0.3, 1 connection",
        guest: "hello",
        connections: 1,
        servers: &[Kind::Edge, Kind::PlainHyper, Kind::WasmtimeServe, Kind::Spin],
    },
    Scenario {
        name: "hello, WASI 0.2, fresh instance each, 64 connections",
        guest: "hello_p2",
        connections: 64,
        servers: &[Kind::Edge, Kind::WasmtimeServe, Kind::Spin],
    },
    Scenario {
        name: "key-value get of 1 KiB, 64 connections",
        guest: "key_value",
        connections: 64,
        servers: &[Kind::Edge, Kind::Spin],
    },
    Scenario {
        name: "merge of 100 changes into 1,000, 1 connection",
        guest: "merge",
        connections: 1,
        servers: &[Kind::Edge, Kind::PlainHyper, Kind::WasmtimeServe, Kind::Spin],
    },
    Scenario {
        name: "merge and set, durable, 64 connections",
        guest: "merge_and_set",
        connections: 64,
        servers: &[Kind::Edge, Kind::Spin],
    },
    Scenario {
        name: "merge and set, durable, 1 connection",
        guest: "merge_and_set",
        connections: 1,
        servers: &[Kind::Edge, Kind::Spin],
    },
];

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::PlainHyper { listen, merge }) => plain_hyper::serve(listen, *merge),
        None => measure(&cli),
    }
}

fn measure(cli: &Cli) -> anyhow::Result<()> {
    wrk::check()?;
    let place = server::Place {
        guests: cli.guests.canonicalize().with_context(|| format!("{}: no guests", cli.guests.display()))?,
        edge: cli.edge.canonicalize().with_context(|| format!("{}: no edge host", cli.edge.display()))?,
        application: cli
            .application
            .canonicalize()
            .with_context(|| format!("{}", cli.application.display()))?,
        folder: tempfile::tempdir()?,
    };
    println!("{}", report::heading(cli.rounds, cli.seconds));
    let wanted = |scenario: &&Scenario| cli.only.as_ref().is_none_or(|part| scenario.name.contains(part));
    for scenario in SCENARIOS.iter().filter(wanted) {
        let table = run(scenario, cli, &place)?;
        println!("{table}");
    }
    let wanted = |part: &str| cli.only.as_ref().is_none_or(|only| part.contains(only.as_str()));
    if wanted("start") {
        println!("{}", report::starts(&server::starts(&place, cli.rounds)?));
    }
    if wanted("idle") {
        println!("{}", report::idle_components(&server::idle_components(&place)?));
    }
    Ok(())
}

/// Measures each server once in each round, each round beginning with another one.
fn run(scenario: &Scenario, cli: &Cli, place: &server::Place) -> anyhow::Result<String> {
    let mut servers = Vec::new();
    for kind in scenario.servers.iter().filter(|kind| kind.is_there()) {
        // Once before: memory in which code was compiled is not what serving takes, and the peers keep theirs from run to run.
        drop(Server::start(*kind, scenario.guest, place)?);
        servers.push(Server::start(*kind, scenario.guest, place)?);
    }
    let load = Load { connections: scenario.connections, seconds: cli.seconds, script: None };
    let mut rounds = vec![Vec::new(); servers.len()];
    for server in &servers {
        // What only the first requests pay for: pages, connections of the store, branch predictors.
        wrk::run(&Load { seconds: 1, ..load }, &server.url)?;
    }
    for round in 0..cli.rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            rounds[at].push(wrk::run(&load, &servers[at].url)?);
        }
    }
    let resident = servers.iter().map(Server::resident_kib).collect::<anyhow::Result<Vec<_>>>()?;
    let kinds: Vec<Kind> = servers.iter().map(|server| server.kind).collect();
    Ok(report::scenario(scenario, &kinds, &rounds, &resident))
}
