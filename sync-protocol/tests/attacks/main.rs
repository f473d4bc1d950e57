//! What hostile peers send, as bytes, and what it costs to refuse it or to bear it: counted in allocations and effects, not in
//! seconds. `docs/sync.md` has the table of attacks, limits and these tests.

#![expect(clippy::unwrap_used, reason = "clippy knows a test function, and not the functions that it calls")]

mod allocations;
mod bombs;
mod chunks;
mod edge;
mod floods;
mod honest;
mod memory;
mod operations;
