//! What was measured, as Markdown.

use crate::Scenario;
use crate::server::{IDLE_COMPONENTS, Kind};
use std::fmt::Write as _;
use std::time::Duration;
use test_servers::wrk::Figures;

pub(crate) fn heading(rounds: usize, seconds: u32) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "`wrk --threads 1`, {rounds} rounds of {seconds} s for each server in turn, {cores} cores shared by client and server. \
         Figures are medians of the rounds; a ratio is the median of each round's own ratio.\n"
    )
}

pub(crate) fn scenario(
    scenario: &Scenario,
    kinds: &[Kind],
    rounds: &[Vec<Figures>],
    resident_kib: &[u64],
) -> String {
    let mut table = format!(
        "### {}\n\n| server | requests/s | p50 | p99 | rollcall-edge's rate to it | rollcall-edge's p99 to it | resident after load |\n|---|---|---|---|---|---|---|\n",
        scenario.name
    );
    let edge = kinds.iter().position(|kind| *kind == Kind::Edge).map(|at| &rounds[at]);
    for (at, kind) in kinds.iter().enumerate() {
        let figures = &rounds[at];
        let ratio = |of: fn(&Figures) -> f64| {
            let edge = edge.map(|edge| edge.iter().zip(figures).map(|(edge, other)| of(edge) / of(other)));
            edge.map_or(f64::NAN, |ratios| median(ratios.collect()))
        };
        let _ = writeln!(
            table,
            "| {} | {:.0} | {} | {} | {:.2} | {:.2} | {} MB |",
            kind.name(),
            median(figures.iter().map(|figures| figures.per_second).collect()),
            milliseconds(median(figures.iter().map(|figures| figures.p50.as_secs_f64()).collect())),
            milliseconds(median(figures.iter().map(|figures| figures.p99.as_secs_f64()).collect())),
            ratio(|figures| figures.per_second),
            ratio(|figures| figures.p99.as_secs_f64()),
            resident_kib[at] / 1024,
        );
    }
    table
}

pub(crate) fn starts(times: &[(String, Vec<Duration>)]) -> String {
    let mut table =
        "### Start with compiled code, until the first answer\n\n| server | median | slowest |\n|---|---|---|\n".to_owned();
    for (name, times) in times {
        let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        let slowest = seconds.iter().copied().fold(0.0, f64::max);
        let _ =
            writeln!(table, "| {} | {} | {} |", name, milliseconds(median(seconds)), milliseconds(slowest));
    }
    table
}

pub(crate) fn idle_components(resident_kib: &[u64; 2]) -> String {
    let [one, many] = resident_kib.map(|kib| kib / 1024);
    format!(
        "### Memory of idle components\n\nResident with one component: {one} MB; with {IDLE_COMPONENTS}: {many} MB.\n"
    )
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_value_or_between_the_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
