//! The origin beside what it stands on: `pgbench` runs the SQL of one request on the same server, in turn with the origin
//! answering such requests; views that are kept beside `redis-benchmark` and a route without work. `cargo xtask bench origin` builds what it needs and runs it.
//!
//! The institute has the size of the Open University's dataset. The SQL is not written here: it is what the server's log says
//! that the origin executed, so that it cannot fall behind the code.

mod institute;
mod recorded_sql;
mod requests;

use institute::{Institute, Keeps};
use requests::Request;
use std::time::Duration;
use test_servers::wrk::{self, Figures, Load};

const USAGE: &str = "cargo xtask bench origin [--rounds N] [--seconds N]";

/// Connections to the origin, as many as in the other benchmarks.
pub(crate) const CONNECTIONS: u32 = 64;
/// Time in which every reader's view is computed once, twice over.
const WARM_UP_SECONDS: u32 = 2;
/// Students of the Open University's dataset, and of a small institute.
const LARGE: u32 = 28_785;
const SMALL: u32 = 1_000;

pub(crate) struct Options {
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

/// What a load came to, over the rounds.
#[derive(Default)]
struct Rates {
    origin: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// What the origin cannot be faster than, in the same rounds.
    limit: Vec<f64>,
}

impl Rates {
    fn add(&mut self, figures: Figures) {
        self.origin.push(figures.per_second);
        self.p50.push(ms(figures.p50));
        self.p99.push(ms(figures.p99));
    }

    fn print(self, students: u32, name: &str, limit: &str) {
        let pairs = self.origin.iter().zip(&self.limit);
        let share = median(pairs.map(|(origin, limit)| origin / limit).collect());
        println!(
            "| {students} | {name} | {:.0} | {:.1} | {:.1} | {limit}: {:.0} | {share:.2} |",
            median(self.origin),
            median(self.p50),
            median(self.p99),
            median(self.limit),
        );
    }
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    wrk::check().expect("the benchmark needs wrk");
    println!("| students | request | origin/s | p50 ms | p99 ms | limit/s | share of it |");
    println!("|---|---|---|---|---|---|---|");
    for students in [SMALL, LARGE] {
        let institute = Institute::open(students).await;
        let dashboard = requests::student_dashboard(&institute).await;
        let grade = requests::grade_submission(&institute).await;
        beside_pgbench(&institute, &dashboard, &options).print(students, dashboard.name, "pgbench");
        beside_pgbench(&institute, &grade, &options).print(students, grade.name, "pgbench");
        let bytes = institute.view_bytes(requests::DASHBOARD).await;
        let [redis, memory] = kept(&institute, &dashboard, bytes, &options);
        redis.print(students, "student dashboard, kept in Redis", "redis-benchmark and an empty route");
        memory.print(students, "student dashboard, kept in memory", "an empty route");
    }
}

/// Origin and pgbench in turn, the one that begins changing.
fn beside_pgbench(institute: &Institute, request: &Request, options: &Options) -> Rates {
    let mut rates = Rates::default();
    for round in 0..options.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                rates.add(request.load(institute, Keeps::Nothing, options));
            } else {
                rates.limit.push(institute.pgbench(&request.sql, options.seconds));
            }
        }
    }
    rates
}

/// A view that is kept, in Redis and in memory. The limits: a request without work, and one that asks Redis besides.
fn kept(institute: &Institute, view: &Request, bytes: usize, options: &Options) -> [Rates; 2] {
    let (mut redis, mut memory) = (Rates::default(), Rates::default());
    // Each reader's first answer is computed, which is not what is measured.
    let warm_up = Options { rounds: 1, seconds: WARM_UP_SECONDS };
    for keeps in [Keeps::InRedis, Keeps::InMemory] {
        view.load(institute, keeps, &warm_up);
    }
    for _ in 0..options.rounds {
        let load = Load { connections: CONNECTIONS, seconds: options.seconds, script: None };
        let empty = wrk::run(&load, &institute.url(Keeps::Nothing, "/health"))
            .expect("the origin answers")
            .per_second;
        let get = institute.redis_benchmark(bytes, CONNECTIONS, options.seconds);
        redis.limit.push(1.0 / (1.0 / get + 1.0 / empty));
        memory.limit.push(empty);
        redis.add(view.load(institute, Keeps::InRedis, options));
        memory.add(view.load(institute, Keeps::InMemory, options));
    }
    [redis, memory]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
