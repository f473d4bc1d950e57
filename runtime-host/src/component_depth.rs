//! How deep components stand within each other in a file. Compiling takes time that grows faster than the depth: thirty thousand
//! levels fit into 400 KB and keep wasmtime busy for minutes.

use crate::limits;

/// Bytes before the first section: magic, version, layer.
const PREAMBLE_BYTES: usize = 8;
const COMPONENT_SECTION: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("components stand more than {} deep within each other", limits::MAX_COMPONENT_DEPTH)]
pub(crate) struct TooDeep;

/// Looks at the lengths of sections alone, once. What is malformed is left to wasmtime.
pub(crate) fn check(wasm: &[u8]) -> Result<(), TooDeep> {
    let mut ends = vec![wasm.len()];
    let mut at = PREAMBLE_BYTES;
    while let Some(section) = wasm.get(at).copied() {
        while ends.last().is_some_and(|end| at >= *end) {
            ends.pop();
        }
        let Some((bytes, start)) = length(wasm, at + 1) else { return Ok(()) };
        if section == COMPONENT_SECTION {
            ends.push(start.saturating_add(bytes));
            if ends.len() > limits::MAX_COMPONENT_DEPTH {
                return Err(TooDeep);
            }
            at = start + PREAMBLE_BYTES;
        } else {
            at = start.saturating_add(bytes);
        }
    }
    Ok(())
}

/// An unsigned number of at most 32 bits in LEB128, and where it ends.
fn length(wasm: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for (n, byte) in wasm.get(at..)?.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, at + n + 1));
        }
    }
    None
}
