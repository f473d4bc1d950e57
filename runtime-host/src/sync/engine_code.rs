//! Which code an institute's engine runs: the newest or, when that does not start, the last that did.

use crate::guest::Guest;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub struct EngineCode {
    newest: watch::Receiver<Arc<Guest>>,
    /// What was started last, whether that worked or not.
    tried: Option<Arc<Guest>>,
    worked: Option<Arc<Guest>>,
    /// Bounds the replacements of all institutes' engines.
    replacements: Arc<Semaphore>,
}

impl EngineCode {
    pub fn new(newest: watch::Receiver<Arc<Guest>>, replacements: Arc<Semaphore>) -> Self {
        Self { newest, tried: None, worked: None, replacements }
    }

    /// What is to be started, the best first.
    pub fn candidates(&mut self) -> Vec<Arc<Guest>> {
        let newest = self.newest.borrow_and_update().clone();
        let other = self.worked.clone().filter(|worked| !Arc::ptr_eq(worked, &newest));
        self.tried = Some(newest.clone());
        std::iter::once(newest).chain(other).collect()
    }

    pub fn worked(&mut self, guest: Arc<Guest>) {
        self.worked = Some(guest);
    }

    /// Waits for code that was not tried yet, and for its turn. Nothing is lost when this is dropped before.
    pub async fn replacement(&mut self) -> (Arc<Guest>, OwnedSemaphorePermit) {
        let untried =
            |newest: &Arc<Guest>| self.tried.as_ref().is_none_or(|tried| !Arc::ptr_eq(tried, newest));
        let newest = self.newest.wait_for(untried).await.map(|newest| newest.clone());
        let newest = match newest {
            Ok(newest) => newest,
            // Nobody can replace it any more.
            Err(_) => std::future::pending().await,
        };
        let turn = self.replacements.clone().acquire_owned().await;
        (newest, turn.expect("the semaphore is never closed"))
    }

    pub fn tried(&mut self, guest: Arc<Guest>) {
        self.tried = Some(guest);
    }
}
