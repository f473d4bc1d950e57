//! The names of what guests may import, to say at once all that a component asks for in vain. The linker decides; a component
//! whose imports are all here and that it refuses nevertheless is told its reason.

/// Interfaces in the one version that there is of them.
const EXACT: [&str; 19] = [
    "spin:key-value/key-value@3.0.0",
    "spin:postgres/postgres@3.0.0",
    "spin:postgres/postgres@4.0.0",
    "spin:postgres/postgres@4.1.0",
    "spin:postgres/postgres@4.2.0",
    "spin:redis/redis@3.0.0",
    "spin:sqlite/sqlite@3.0.0",
    "spin:sqlite/sqlite@3.1.0",
    "spin:variables/variables@3.0.0",
    "fermyon:spin/key-value@2.0.0",
    "fermyon:spin/postgres@2.0.0",
    "fermyon:spin/rdbms-types@2.0.0",
    "fermyon:spin/redis@2.0.0",
    "fermyon:spin/sqlite@2.0.0",
    "fermyon:spin/variables@2.0.0",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:config/store@0.2.0-draft-2024-09-27",
];

/// Interfaces of WASI 0.2 and 0.3, of any patch version.
const WASI: [(&str, &str, &[&str]); 14] = [
    ("wasi:io", "0.2.", &["error", "poll", "streams"]),
    ("wasi:clocks", "0.2.", &["monotonic-clock", "wall-clock"]),
    ("wasi:clocks", "0.3.", &["monotonic-clock", "system-clock", "types"]),
    ("wasi:random", "0.2.", &["random", "insecure", "insecure-seed"]),
    ("wasi:random", "0.3.", &["random", "insecure", "insecure-seed"]),
    ("wasi:cli", "0.2.", CLI),
    ("wasi:cli", "0.3.", CLI),
    ("wasi:cli", "0.3.", &["types"]),
    ("wasi:filesystem", "0.2.", &["types", "preopens"]),
    ("wasi:filesystem", "0.3.", &["types", "preopens"]),
    (
        "wasi:sockets",
        "0.2.",
        &[
            "network",
            "instance-network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
            "ip-name-lookup",
        ],
    ),
    ("wasi:sockets", "0.3.", &["types", "ip-name-lookup"]),
    ("wasi:http", "0.2.", &["types", "outgoing-handler"]),
    ("wasi:http", "0.3.", &["types", "client"]),
];

const CLI: &[&str] = &[
    "environment",
    "exit",
    "stdin",
    "stdout",
    "stderr",
    "terminal-input",
    "terminal-output",
    "terminal-stdin",
    "terminal-stdout",
    "terminal-stderr",
];

/// Whether an import of this name, `PACKAGE/INTERFACE@VERSION`, is offered.
pub fn is_offered(import: &str) -> bool {
    let Some((path, version)) = import.split_once('@') else { return false };
    let Some((package, interface)) = path.split_once('/') else { return false };
    let wasi = |(offered, versions, interfaces): &(&str, &str, &[&str])| {
        *offered == package && is_patch_of(version, versions) && interfaces.contains(&interface)
    };
    EXACT.contains(&import) || WASI.iter().any(wasi)
}

/// Release candidates are no patches.
fn is_patch_of(version: &str, minor: &str) -> bool {
    version.strip_prefix(minor).is_some_and(|patch| patch.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_exact_but_for_patches_of_wasi() {
        for offered in ["wasi:io/poll@0.2.0", "wasi:io/poll@0.2.10", "wasi:http/client@0.3.0"] {
            assert!(is_offered(offered), "{offered}");
        }
        for other in [
            "wasi:io/poll",
            "wasi:io/poll@0.2.0-rc1",
            "wasi:io/poll@0.3.0",
            "wasi:http/client@0.3.0-rc-2025-09-16",
            "spin:key-value/key-value@3.0.1",
            "spin:mqtt/mqtt@3.0.0",
            "import",
        ] {
            assert!(!is_offered(other), "{other}");
        }
        assert!(EXACT.iter().all(|interface| is_offered(interface)));
    }
}
