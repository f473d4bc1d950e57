//! `cargo xtask`: the developer's commands.

mod bench;
mod cargo;
mod components;
mod demo;
mod health;
mod house;
mod packages;
mod service;
mod test_run;
mod up;

use anyhow::bail;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask up [FLAGS]       build everything, start an origin and an edge with two sample institutes, play the story
    --data DIR               where stores and logs are kept [default: ./data]
    --edge ADDR              where the edge listens [default: 127.0.0.1:3000]
    --origin ADDR            where the origin listens [default: 127.0.0.1:8080]
    --no-demo                do not play the story
    --release                optimised programs; the first build takes longer
cargo xtask setup            install from the system's packages what the build needs; `up` and `test` do it too
cargo xtask components       build the WebAssembly components alone
cargo xtask guests           build the small components that the edge host's tests and benchmark run
cargo xtask bench host [ARGS] measure the edge host beside its peers, release build; --help lists ARGS
cargo xtask bench sync [ARGS] measure sync beside the JavaScript sync server and samod; ARGS: --rounds N, --load NAME
cargo xtask bench origin [ARGS] measure the origin beside pgbench with the same SQL; ARGS: --rounds N, --seconds N
cargo xtask test [ARGS]      build everything and run all tests; ARGS go to `cargo nextest run`
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    if arguments.is_empty() {
        print!("{HELP}");
        return Ok(ExitCode::from(2));
    }
    match arguments.remove(0).as_str() {
        "setup" if arguments.is_empty() => packages::openssl().map(|()| ExitCode::SUCCESS),
        "components" if arguments.is_empty() => components::build().map(|()| ExitCode::SUCCESS),
        "bench" if arguments.first().is_some_and(|what| what == "host") => {
            bench::host(&arguments[1..]).map(|()| ExitCode::SUCCESS)
        }
        "bench" if arguments.first().is_some_and(|what| what == "sync") => {
            bench::sync(&arguments[1..]).map(|()| ExitCode::SUCCESS)
        }
        "bench" if arguments.first().is_some_and(|what| what == "origin") => {
            bench::origin(&arguments[1..]).map(|()| ExitCode::SUCCESS)
        }
        "guests" if arguments.is_empty() => components::build_guests().map(|()| ExitCode::SUCCESS),
        "up" => up::run(&up::Options::read(arguments)?),
        "test" => test_run::run(&arguments),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no `cargo xtask {other}`\n\n{HELP}"),
    }
}
