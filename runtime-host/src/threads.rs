//! The threads that answer requests: one for each core, with a runtime of its own, so that a connection, its requests and
//! their instances stay on one thread and nothing has to wake another.
//!
//! A guest that computes for longer than an epoch would hold its thread's other connections up. It moves to the threads for
//! busy guests, which the system runs with what the others leave.

use crate::limits;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The number of the request thread that runs this; None on any other thread.
pub fn number() -> Option<usize> {
    NUMBER.get()
}

/// The threads; they end when this is dropped.
pub struct Threads {
    requests: Vec<RequestThread>,
    /// Taken in `drop` alone.
    busy: Option<Runtime>,
}

struct RequestThread {
    runtime: Handle,
    tasks: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

/// Counts a task of a thread while it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    pub fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let requests = (0..cores).map(request_thread).collect::<Result<_, _>>()?;
        let busy = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("busy-guest")
            .on_thread_start(step_back)
            .enable_all()
            .build()?;
        Ok(Self { requests, busy: Some(busy) })
    }

    /// How many request threads there are.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Runs `task` on the request thread that has the fewest.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let least = self.requests.iter().min_by_key(|thread| thread.tasks.load(Ordering::Relaxed));
        let Some(thread) = least else { return };
        thread.tasks.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(thread.tasks.clone());
        thread.runtime.spawn(async move {
            task.await;
            drop(counted);
        });
    }

    /// Where guests run on that hold their thread for too long.
    pub fn busy(&self) -> Option<&Handle> {
        self.busy.as_ref().map(Runtime::handle)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Dropping a runtime waits for its tasks, which an asynchronous thread may not do.
        if let Some(busy) = self.busy.take() {
            busy.shutdown_background();
        }
    }
}

fn request_thread(number: usize) -> std::io::Result<RequestThread> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = move || {
        NUMBER.set(Some(number));
        // Ends with an error when the sender is dropped, which is the stop.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name(format!("requests-{number}")).spawn(run)?;
    Ok(RequestThread { runtime: handle, tasks: Arc::default(), _stop: stop })
}

/// Lets the system prefer all other threads of the process.
fn step_back() {
    // On Linux a process id of zero means the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, limits::BUSY_GUEST_NICENESS) {
        tracing::debug!(%error, "niceness of busy guests");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn tasks_are_spread_over_all_request_threads() {
        let threads = Threads::start().unwrap();
        let (sender, mut numbers) = mpsc::unbounded_channel();
        for _ in 0..threads.count() {
            let sender = sender.clone();
            threads.spawn(async move {
                sender.send(number()).unwrap();
                // Stays, so that the next one goes elsewhere.
                std::future::pending::<()>().await;
            });
        }
        let mut seen = BTreeSet::new();
        while seen.len() < threads.count() {
            seen.insert(numbers.recv().await.unwrap().expect("a request thread has a number"));
        }
        assert_eq!(number(), None);
    }
}
