//! Gives an instance its next turn at once when it asks for one during its turn.
//!
//! wasmtime hands the thread back for each step that a guest does after it has said "go on with others first", which guests with
//! an executor of their own say several times in a request. Of sixteen requests in one instance that is dozens of rounds through
//! the queue of the thread, with an answer's head in one of them and its body in a later one.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Wake, Waker};

const IDLE: u8 = 0;
/// In its turn, and nobody has woken it meanwhile.
const AT_WORK: u8 = 1;
const WOKEN: u8 = 2;

/// The waker that an instance sees, and what it stands for.
pub(super) struct Turns {
    shared: Arc<Shared>,
    waker: Waker,
}

struct Shared {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In its turn it need not be queued: whoever polls it looks.
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared { state: AtomicU8::new(IDLE), task: AtomicWaker::new() });
        Self { waker: Waker::from(shared.clone()), shared }
    }

    /// What wakes the instance from outside.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Takes turns, each of which returns none when the instance waits for something. After one it is asked again if it was
    /// woken during that turn and `more` allows it; otherwise its task is queued again.
    pub(super) fn take<T>(
        &self,
        cx: &mut Context<'_>,
        mut turn: impl FnMut(&mut Context<'_>) -> Option<T>,
        mut more: impl FnMut() -> bool,
    ) -> Option<T> {
        self.shared.task.register(cx.waker());
        loop {
            // What was written before a wake that is seen here, the turn sees.
            self.shared.state.swap(AT_WORK, Ordering::AcqRel);
            if let Some(result) = turn(&mut Context::from_waker(&self.waker)) {
                return Some(result);
            }
            let waits =
                self.shared.state.compare_exchange(AT_WORK, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if waits.is_ok() {
                return None;
            }
            if !more() {
                self.shared.state.store(IDLE, Ordering::Release);
                cx.waker().wake_by_ref();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Queued(AtomicUsize);

    impl Wake for Queued {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many turns it had, and how often its task was queued.
    fn taken(turns: &Turns, asks: usize, allowed: usize) -> (usize, usize) {
        let queued = Arc::new(Queued::default());
        let waker = Waker::from(queued.clone());
        let (mut had, mut left) = (0, allowed);
        let turn = |cx: &mut Context<'_>| {
            had += 1;
            if had <= asks {
                cx.waker().wake_by_ref();
            }
            None::<()>
        };
        let more = || {
            left = left.saturating_sub(1);
            left > 0
        };
        assert_eq!(turns.take(&mut Context::from_waker(&waker), turn, more), None);
        (had, queued.0.load(Ordering::Relaxed))
    }

    #[test]
    fn who_asks_during_a_turn_has_the_next_one_without_being_queued() {
        assert_eq!(taken(&Turns::new(), 0, 100), (1, 0));
        assert_eq!(taken(&Turns::new(), 3, 100), (4, 0));
    }

    #[test]
    fn who_asks_for_ever_is_queued_behind_the_others() {
        let turns = Turns::new();
        assert_eq!(taken(&turns, usize::MAX, 5), (5, 1));
        assert_eq!(taken(&turns, 1, 5), (2, 0), "and has its turns when it comes up again");
    }

    #[test]
    fn a_wake_between_the_turns_queues_the_task_once() {
        let turns = Turns::new();
        let queued = Arc::new(Queued::default());
        let waker = Waker::from(queued.clone());
        assert_eq!(turns.take(&mut Context::from_waker(&waker), |_| None::<()>, || true), None);
        turns.waker().wake_by_ref();
        turns.waker().wake_by_ref();
        assert_eq!(queued.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wake_of_another_thread_is_never_lost() {
        const STEPS: usize = 20_000;
        let turns = Turns::new();
        let (woken, step, seen) = (turns.waker().clone(), AtomicUsize::new(0), AtomicUsize::new(0));
        let unpark = Waker::from(Arc::new(Unpark(std::thread::current())));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=STEPS {
                    // In step, so that a lost wake has no other to make good for it.
                    step.store(number, Ordering::Release);
                    woken.wake_by_ref();
                    while seen.load(Ordering::Acquire) < number {
                        std::thread::yield_now();
                    }
                }
            });
            while seen.load(Ordering::Acquire) < STEPS {
                let turn = |_: &mut Context<'_>| {
                    seen.store(step.load(Ordering::Acquire), Ordering::Release);
                    None::<()>
                };
                assert_eq!(turns.take(&mut Context::from_waker(&unpark), turn, || true), None);
                // Ends at once when the waker was called meanwhile, and for ever when it was not and should have been: the
                // runner of the tests ends it then.
                if seen.load(Ordering::Acquire) < STEPS {
                    std::thread::park();
                }
            }
        });
    }

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
