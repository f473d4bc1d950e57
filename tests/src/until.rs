//! The one way in which tests wait.

use std::time::{Duration, Instant};

/// Between two looks. Short beside everything that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// Looks until there is something to see; fails the test after `deadline`, naming what it waited for.
pub async fn until<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < deadline, "waited {deadline:?} for {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
