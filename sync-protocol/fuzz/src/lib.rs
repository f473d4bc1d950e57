//! The fuzz targets, which are the source files of `sync-protocol`'s test `fuzz`: what runs here for hours and what CI replays is
//! the same code.

#![allow(clippy::unwrap_used, reason = "a fuzz target fails by a panic")]

#[path = "../../tests/fuzz/decoders.rs"]
mod decoders;
#[path = "../../tests/fuzz/engine.rs"]
mod engine;
#[path = "../../tests/fuzz/gate.rs"]
mod gate;
#[path = "../../tests/fuzz/input.rs"]
mod input;
#[path = "../../tests/fuzz/log.rs"]
mod log;
#[path = "../../tests/fuzz/rules.rs"]
mod rules;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

/// Runs one target on one input.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) =
        targets::TARGETS.iter().find(|(known, _)| *known == name).expect("a target of the list");
    target(data);
}
