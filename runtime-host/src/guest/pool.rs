//! Which instance answers a request: one of the same thread, so that nothing has to be woken elsewhere, and of the same scope,
//! so that what a component keeps of one institute is never there when it answers another.

use super::worker::{Job, Waiting, Worker};
use crate::threads;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The institute that instances work for; None where a component's instances are all alike.
pub(super) type Scope = Option<String>;

type Workers = HashMap<Scope, Vec<Arc<Worker>>>;

/// The instances of one component.
pub(super) struct Pool {
    /// One for each request thread, and one for all other threads.
    threads: Box<[Mutex<Workers>]>,
}

/// Where an instance stands in the pool.
pub(super) struct Place {
    thread: usize,
    scope: Scope,
}

impl Pool {
    pub(super) fn new(request_threads: usize) -> Self {
        Self { threads: (0..=request_threads).map(|_| Mutex::default()).collect() }
    }

    fn thread(&self) -> usize {
        let others = self.threads.len() - 1;
        threads::number().map_or(others, |number| number.min(others))
    }

    fn with<T>(&self, thread: usize, work: impl FnOnce(&mut Workers) -> T) -> T {
        work(&mut self.threads[thread].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Offers `job` to the instances that there are, the oldest first, so that those that are not needed become idle.
    pub(super) fn offer(&self, scope: &Scope, job: &mut Option<Job>) -> Option<Waiting> {
        self.with(self.thread(), |workers| workers.get(scope)?.iter().find_map(|worker| worker.offer(job)))
    }

    pub(super) fn add(&self, scope: Scope, worker: &Arc<Worker>) -> Place {
        let thread = self.thread();
        self.with(thread, |workers| workers.entry(scope.clone()).or_default().push(worker.clone()));
        Place { thread, scope }
    }

    /// Ends the instances that have nothing to do, and the others after what they do.
    pub(super) fn retire(&self) {
        for thread in 0..self.threads.len() {
            let workers: Vec<_> = self.with(thread, |workers| workers.values().flatten().cloned().collect());
            workers.iter().for_each(|worker| worker.retire());
        }
    }

    pub(super) fn remove(&self, place: &Place, worker: &Arc<Worker>) {
        self.with(place.thread, |workers| {
            let Some(list) = workers.get_mut(&place.scope) else { return };
            list.retain(|other| !Arc::ptr_eq(other, worker));
            if list.is_empty() {
                workers.remove(&place.scope);
            }
        });
    }
}
