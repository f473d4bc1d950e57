//! Runs the stored inputs of the fuzz targets: seeds, what fuzzing found worth keeping, and every finding that was mended.

#![expect(clippy::unwrap_used, reason = "clippy knows a test function, and not the functions that it calls")]

mod decoders;
mod engine;
mod gate;
mod input;
mod log;
mod rules;
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use targets::TARGETS;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_stored_input_passes_its_target() {
    for (name, target) in TARGETS {
        let inputs = files_in(&fuzz_folder().join("corpus").join(name));
        assert!(inputs.len() >= 3, "{name} has {} inputs", inputs.len());
        for input in inputs {
            let bytes = std::fs::read(&input).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
                eprintln!("replay: cd sync-protocol && cargo fuzz run {name} {}", input.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// A target that nobody runs, or that has no stored inputs, finds nothing.
#[test]
fn targets_programs_and_corpora_are_the_same_list() {
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let files = files_in(&fuzz_folder().join(folder));
        files.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(stems("fuzz_targets"), named);
    assert_eq!(stems("corpus"), named);
    let manifest = std::fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    for name in named {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
