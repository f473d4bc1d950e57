//! Rules about the source that no lint holds.

use integration_tests::workspace;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 800;
/// Names that say nothing about what is in the file.
const BANNED: [&str; 9] = ["utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "mod"];

/// Files of the workspace with an extension, without what is built or installed.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            let foreign =
                name.starts_with('.') || matches!(name.as_str(), "target" | "node_modules" | "data" | "deps");
            if !foreign {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&workspace(), "rs", &mut found);
    assert!(found.len() > 50, "the workspace's sources are found");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    found.into_iter().map(read).collect()
}

fn holds(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn files_have_at_most_800_lines() {
    let long = sources().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{} has {lines}", path.display()))
    });
    holds("files of at most 800 lines", &long.collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_about() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//!"));
    let silent: Vec<String> = silent.map(|(path, _)| path.display().to_string()).collect();
    holds("every file starts with `//!`", &silent);
}

#[test]
fn files_are_named_after_what_they_hold() {
    let named = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        BANNED.contains(&stem.as_str())
    };
    let banned =
        sources().into_iter().filter(|(path, _)| named(path)).map(|(path, _)| path.display().to_string());
    holds("files named after their main type or noun", &banned.collect::<Vec<_>>());
}

#[test]
fn no_test_is_left_out_and_no_work_is_left_for_later() {
    // Spelled so that this file does not find itself.
    let marks = [
        concat!("#[ig", "nore"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimple", "mented!("),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    holds("no test is left out, no work is marked for later", &found);
}

/// Arrows point down only (ARCHITECTURE.md).
#[test]
fn crates_depend_on_what_is_below_them_alone() {
    let ours = [
        "sync-protocol",
        "rollcall-guest",
        "device",
        "origin",
        "runtime-host",
        "host-bench",
        "host-guests",
        "integration-tests",
        "test-servers",
        "xtask",
    ];
    let allowed: [(&str, &[&str]); 13] = [
        ("sync-protocol", &[]),
        ("edge-components/guest", &["sync-protocol"]),
        ("edge-components/dashboards", &["sync-protocol", "rollcall-guest"]),
        ("edge-components/sync", &["sync-protocol", "rollcall-guest"]),
        ("edge-components/commands", &["sync-protocol", "rollcall-guest"]),
        ("runtime-host", &["sync-protocol", "test-servers"]),
        ("runtime-host/bench", &["host-guests", "test-servers"]),
        ("runtime-host/guests", &[]),
        ("origin", &["sync-protocol", "test-servers"]),
        ("device", &["sync-protocol"]),
        ("tests", &["sync-protocol", "device", "test-servers"]),
        ("tests/servers", &[]),
        ("xtask", &[]),
    ];
    let mut wrong = Vec::new();
    for (folder, below) in allowed {
        let manifest = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
        let depends = |name: &&str| {
            manifest
                .lines()
                .any(|line| line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} =")))
        };
        for name in ours.iter().filter(|name| depends(name) && !below.contains(name)) {
            wrong.push(format!("{folder} depends on {name}"));
        }
    }
    holds("arrows point down only", &wrong);
}

#[test]
fn the_js_clients_lock_file_names_no_registry() {
    let lock = std::fs::read_to_string(workspace().join("tests/js/package-lock.json")).unwrap();
    assert!(!lock.contains("\"resolved\"") && !lock.contains("://registry"), "{lock}");
}
