//! The origin beside the database alone: `pgbench` runs the SQL of one request on the same server, in turn with the origin
//! answering such requests. `cargo xtask bench origin` builds what it needs and runs it.
//!
//! The institute has the size of the Open University's dataset. The SQL is not written here: it is what the server's log says
//! that the origin executed, so that it cannot fall behind the code.

mod institute;
mod recorded_sql;
mod requests;

use institute::Institute;
use std::time::Duration;
use test_servers::wrk::{self, Load};

const USAGE: &str = "cargo xtask bench origin [--rounds N] [--seconds N]";

/// Connections to the origin, as many as in the other benchmarks.
const CONNECTIONS: u32 = 64;
/// Students of the Open University's dataset, and of a small institute.
const LARGE: u32 = 28_785;
const SMALL: u32 = 1_000;

struct Options {
    rounds: usize,
    seconds: u32,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { rounds: 3, seconds: 5 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().and_then(|value| value.parse().ok()).expect(USAGE);
            match argument.as_str() {
                // What `cargo bench` passes to every benchmark.
                "--bench" => {}
                "--rounds" => options.rounds = value() as usize,
                "--seconds" => options.seconds = value(),
                other => panic!("{other}? {USAGE}"),
            }
        }
        options
    }
}

/// What one request came to, over the rounds.
#[derive(Default)]
struct Rates {
    origin: Vec<f64>,
    pgbench: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    wrk::check().expect("the benchmark needs wrk");
    println!("| students | request | origin/s | p50 ms | p99 ms | pgbench/s | share of pgbench's |");
    println!("|---|---|---|---|---|---|---|");
    for students in [SMALL, LARGE] {
        let institute = Institute::open(students).await;
        for request in institute.requests().await {
            let rates = measure(&institute, &request, &options);
            let pairs = rates.origin.iter().zip(&rates.pgbench);
            let share = median(pairs.map(|(origin, pgbench)| origin / pgbench).collect());
            println!(
                "| {students} | {} | {:.0} | {:.1} | {:.1} | {:.0} | {:.2} |",
                request.name,
                median(rates.origin),
                median(rates.p50),
                median(rates.p99),
                median(rates.pgbench),
                share,
            );
        }
        let load = Load { connections: CONNECTIONS, seconds: options.seconds, script: None };
        let empty = wrk::run(&load, &institute.url("/health")).expect("the origin answers");
        println!(
            "| {students} | an empty route | {:.0} | {:.1} | {:.1} | | |",
            empty.per_second,
            ms(empty.p50),
            ms(empty.p99)
        );
    }
}

/// Origin and pgbench in turn, the one that begins changing.
fn measure(institute: &Institute, request: &requests::Request, options: &Options) -> Rates {
    let mut rates = Rates::default();
    for round in 0..options.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let figures = request.load(CONNECTIONS, options.seconds);
                rates.origin.push(figures.per_second);
                rates.p50.push(ms(figures.p50));
                rates.p99.push(ms(figures.p99));
            } else {
                rates.pgbench.push(institute.pgbench(&request.sql, options.seconds));
            }
        }
    }
    rates
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
