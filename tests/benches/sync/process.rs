//! What Linux says of a process (proc(5)).

use std::fs::read_to_string;
use std::time::Duration;

/// Clock ticks a second in what the kernel tells of processes: USER_HZ, part of its interface and 100 on every machine that this
/// builds for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that the process has used, in user and in system mode, by all of its threads.
pub(crate) fn processor_time(process: u32) -> Duration {
    let stat = read_to_string(format!("/proc/{process}/stat")).expect("the server runs");
    // Behind the name, which may hold spaces, the 3rd field comes first; utime and stime are the 14th and the 15th.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("a time is a number"))
        .sum();
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}

/// Resident memory now, in bytes.
pub(crate) fn resident(process: u32) -> u64 {
    status_kib(process, "VmRSS:") * 1024
}

/// The most that was resident, in bytes.
pub(crate) fn peak(process: u32) -> u64 {
    status_kib(process, "VmHWM:") * 1024
}

fn status_kib(process: u32, field: &str) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).expect("the server runs");
    let value = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux knows the field");
    value.trim().trim_end_matches(" kB").parse().expect("a size is a number")
}
