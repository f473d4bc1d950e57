//! Medians over the rounds, and ratios to the best peer.

use crate::servers::Kind;
use crate::swarm::{Figures, Load, megabytes};

pub(crate) struct Measured {
    pub(crate) kind: Kind,
    pub(crate) figures: Figures,
}

pub(crate) fn print(load: &Load, measured: &[Measured]) {
    println!("\n### {}\n", load.name);
    println!(
        "| server | CPU ms a delivery | converged p50 ms | p99 ms | idle MB | joined MB | peak MB | KB a client | missing |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for kind in Kind::ALL {
        let of = |value: fn(&Figures) -> f64| median(measured, kind, value);
        println!(
            "| {} | {:.3} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} |",
            kind.name(),
            of(cpu),
            of(p50),
            of(p99),
            of(|f| megabytes(f.idle)),
            of(|f| megabytes(f.joined)),
            of(|f| megabytes(f.peak)),
            of(per_client) / 1e3,
            of(|f| f64::from(f.missing)),
        );
    }
    println!();
    for (name, value) in [
        ("CPU a delivery", cpu as fn(&Figures) -> f64),
        ("converged p50", p50),
        ("converged p99", p99),
        ("memory a client", per_client),
    ] {
        let ours = median(measured, Kind::Rollcall, value);
        let best = [Kind::JavaScript, Kind::Samod].map(|kind| median(measured, kind, value));
        let best = best.into_iter().fold(f64::INFINITY, f64::min);
        println!("- {name}: {:.2} of the better peer's", ours / best);
    }
}

fn cpu(figures: &Figures) -> f64 {
    figures.cpu_ms
}

fn p50(figures: &Figures) -> f64 {
    figures.converge.p50.unwrap_or(f64::INFINITY)
}

fn p99(figures: &Figures) -> f64 {
    figures.converge.p99.unwrap_or(f64::INFINITY)
}

fn per_client(figures: &Figures) -> f64 {
    figures.per_client
}

fn median(measured: &[Measured], kind: Kind, value: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> =
        measured.iter().filter(|m| m.kind == kind).map(|m| value(&m.figures)).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
