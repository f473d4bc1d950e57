//! Appends that another process may be faster with.

use super::DocumentError;
use std::time::Duration;

/// How often what another process was faster with is done anew: each time that other has got something into the log, and losing
/// that often in a row means that the document is busier than any class is.
const TRIES: u32 = 20;
/// The longest pause before the next try, for each try that was in vain.
const PAUSE_STEP_MS: u64 = 2;

/// Does something on the newest state of a document, and again when another process was faster. Blocks.
///
/// Each pause is of random length: two processes that try in step would have the same one lose each time.
pub(super) fn retried<T>(mut attempt: impl FnMut() -> Result<T, DocumentError>) -> Result<T, DocumentError> {
    for tried in 1..TRIES {
        match attempt() {
            Err(DocumentError::Raced(document)) => {
                tracing::debug!(%document, tried, "another process was faster, trying again");
                std::thread::sleep(pause(tried));
            }
            done => return done,
        }
    }
    attempt()
}

fn pause(tried: u32) -> Duration {
    // Without randomness two may meet again, and no more.
    let random = getrandom::u64().unwrap_or_default();
    Duration::from_millis(random % (PAUSE_STEP_MS * u64::from(tried) + 1))
}
