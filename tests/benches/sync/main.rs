//! Sync beside its peers: the same unmodified automerge-repo clients against Rollcall's edge, the JS sync server and samod
//! behind axum, in turn in one run. `cargo xtask bench sync` builds what it needs and runs it.
//!
//! What is measured: processor time of the server for each delivered message, from an edit to its readers, resident memory.
//! Clients and server share the machine, so only ratios within one run mean something.

mod crowd;
mod light_client;
mod offline;
mod process;
mod report;
mod servers;
mod swarm;

use crowd::{CROWDS, Crowd};
use report::Measured;
use servers::{Kind, Server};
use swarm::{LOADS, Load};

const USAGE: &str = "cargo xtask bench sync [--rounds N] [--load NAME]...";

struct Options {
    rounds: usize,
    loads: Vec<Load>,
    crowds: Vec<Crowd>,
    offline: bool,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { rounds: 3, loads: Vec::new(), crowds: Vec::new(), offline: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect(USAGE);
            match argument.as_str() {
                // What `cargo bench` passes to every benchmark.
                "--bench" => {}
                "--rounds" => options.rounds = value().parse().expect(USAGE),
                "--load" => {
                    let name = value();
                    let load = LOADS.iter().find(|load| load.name == name);
                    let crowd = CROWDS.iter().find(|crowd| crowd.name == name);
                    let known = load.is_some() || crowd.is_some() || name == offline::NAME;
                    assert!(known, "there is no load {name:?}: {USAGE}");
                    options.offline |= name == offline::NAME;
                    options.loads.extend(load);
                    options.crowds.extend(crowd);
                }
                other => panic!("{other}? {USAGE}"),
            }
        }
        if options.loads.is_empty() && options.crowds.is_empty() && !options.offline {
            options.loads = LOADS.to_vec();
            options.crowds = CROWDS.to_vec();
            options.offline = true;
        }
        options
    }
}

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some(servers::SAMOD_SERVER) {
        return servers::serve_samod().await;
    }
    let options = Options::read();
    for load in &options.loads {
        let mut measured: Vec<Measured> = Vec::new();
        for round in 1..=options.rounds {
            for kind in Kind::ALL {
                let server = Server::start(kind).await;
                let figures = swarm::run(load, &server).await;
                eprintln!("{} · round {round} · {}: {figures}", load.name, kind.name());
                measured.push(Measured { kind, figures });
            }
        }
        report::print(load, &measured);
    }
    if options.offline {
        let paper = offline::Paper::write();
        for kind in Kind::ALL {
            let server = Server::start(kind).await;
            println!("\n{} · {}: {}", offline::NAME, kind.name(), offline::run(&paper, &server).await);
        }
    }
    // No peer takes part: this is a load that the edge must bear, not one in which it must be better.
    for crowd in options.crowds {
        let server = Server::start(Kind::Rollcall).await;
        println!("\n{}", crowd::run(crowd, &server).await);
    }
}
