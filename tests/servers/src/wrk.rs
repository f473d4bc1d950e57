//! `wrk`, the load generator of the benchmarks: calling it and reading what it says.

use anyhow::{Context as _, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub connections: u32,
    pub seconds: u32,
    /// A Lua script that makes the requests, and its argument.
    pub script: Option<(&'a Path, &'a Path)>,
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Whether there is a `wrk`.
pub fn check() -> anyhow::Result<()> {
    let there = Command::new("wrk").arg("--version").output();
    there.map(drop).context("`wrk` is not on PATH; install it (Debian: apt-get install wrk)")
}

/// Loads `url` from one thread; anything but an answer of success is an error.
pub fn run(load: &Load<'_>, url: &str) -> anyhow::Result<Figures> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--latency"])
        .args(["--connections", &load.connections.to_string()])
        .args(["--duration", &format!("{}s", load.seconds)]);
    if let Some((script, _)) = load.script {
        wrk.arg("--script").arg(script);
    }
    wrk.arg(url);
    if let Some((_, argument)) = load.script {
        wrk.arg("--").arg(argument);
    }
    let output = wrk.output().context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Socket errors") || text.contains("Non-2xx") {
        bail!("wrk {url}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    figures(&text).with_context(|| format!("wrk said what is not understood:\n{text}"))
}

fn figures(text: &str) -> Option<Figures> {
    let after = |label: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .and_then(|rest| rest.split_whitespace().next())
    };
    Some(Figures {
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50: duration(after("50%")?)?,
        p99: duration(after("99%")?)?,
    })
}

/// `812.00us`, `3.20ms`, `1.02s`.
fn duration(text: &str) -> Option<Duration> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) =
        units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Latency Distribution\n     \
                    50%  812.00us\n     75%    1.00ms\n     90%    2.10ms\n     99%    3.20ms\n  \
                    17011 requests in 1.00s, 2.0MB read\nRequests/sec:  17000.50\nTransfer/sec:      2.0MB\n";
        let figures = figures(text).unwrap();
        assert_eq!(figures.per_second, 17000.5);
        assert_eq!(figures.p50, Duration::from_micros(812));
        assert_eq!(figures.p99, Duration::from_micros(3200));
    }
}
