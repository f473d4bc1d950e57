//! What the edge components share: who asks, how an error is answered, how the origin is called.
//!
//! Runs in `rollcall-edge` and in any other host of Spin components. Everything that can grow is read with a limit.

pub mod answer;
pub mod body;
pub mod identity;
pub mod origin;
pub mod problem;

pub use answer::Answer;
pub use identity::{identified_by_host, identity};
pub use origin::{Call, Origin, OriginAnswer, OriginError};
pub use problem::Problem;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, by the clock of the edge.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
