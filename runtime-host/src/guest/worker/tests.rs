//! What a worker takes, gives back and fails, and which institute's worker is asked. No guest is needed for that.

use super::*;
use crate::guest::pool::Pool;
use crate::problem::whole_body;

fn job() -> Option<Job> {
    Some(Job { request: Request::new(whole_body("")), finished: Box::new(()) })
}

fn worker(requests_per_instance: usize, concurrent_per_instance: usize) -> Arc<Worker> {
    let execution = Execution { requests_per_instance, concurrent_per_instance, ..Execution::default() };
    Worker::new(execution, TaskTracker::new())
}

fn taken(worker: &Arc<Worker>) -> Option<Waiting> {
    worker.offer(&mut job())
}

#[tokio::test]
async fn an_instance_takes_so_many_at_once_and_so_many_in_all() {
    let worker = worker(3, 2);
    let first = taken(&worker).unwrap();
    let second = taken(&worker).unwrap();
    assert!(taken(&worker).is_none(), "two at once");
    let (begun, _) = worker.begin().unwrap();
    assert!(taken(&worker).is_none(), "one begun and one waiting are two");
    worker.answer(begun, Ok(Response::new(whole_body("one"))));
    assert!(first.await.is_ok());
    let third = taken(&worker).unwrap();
    while let Some((begun, _)) = worker.begin() {
        worker.answer(begun, Err(GuestFailure::Failed));
    }
    assert!(matches!(second.await, Err(Refusal::Failed(GuestFailure::Failed))));
    assert!(matches!(third.await, Err(Refusal::Failed(GuestFailure::Failed))));
    assert!(taken(&worker).is_none(), "three in all");
    assert!(!worker.rest());
}

#[tokio::test]
async fn what_a_guest_cannot_take_goes_back_untouched_and_it_is_asked_again_only_when_it_can() {
    let worker = worker(10, 10);
    let first = taken(&worker).unwrap();
    worker.begin().unwrap();
    let second = taken(&worker).unwrap();
    assert!(matches!(worker.after_poll(), Verdict::GoOn));
    assert!(matches!(second.await, Err(Refusal::Untouched(_))));
    assert!(taken(&worker).is_none());
    assert!(worker.begin().is_none());
    assert!(taken(&worker).is_some());
    drop(first);
}

#[tokio::test]
async fn an_instance_that_fails_fails_what_it_had_begun_alone() {
    let worker = worker(10, 10);
    let begun = taken(&worker).unwrap();
    worker.begin().unwrap();
    let waiting = taken(&worker).unwrap();
    worker.end(GuestFailure::TimedOut);
    assert!(matches!(begun.await, Err(Refusal::Failed(GuestFailure::TimedOut))));
    assert!(matches!(waiting.await, Err(Refusal::Untouched(_))));
    assert!(taken(&worker).is_none());
}

#[tokio::test]
async fn an_instance_ends_when_nobody_waits_for_any_of_its_answers() {
    let worker = worker(10, 10);
    let (first, second) = (taken(&worker).unwrap(), taken(&worker).unwrap());
    let (one, _) = worker.begin().unwrap();
    worker.begin().unwrap();
    drop(second);
    assert!(matches!(worker.after_poll(), Verdict::GoOn), "one client is still there");
    assert!(taken(&worker).is_none(), "and the instance takes no more");
    worker.answer(one, Ok(Response::new(whole_body(""))));
    assert!(first.await.is_ok());
    worker.look();
    assert!(matches!(worker.after_poll(), Verdict::End(_)));
}

#[tokio::test]
async fn work_after_the_answer_and_idleness_have_an_end() {
    let worker = worker(10, 10);
    let waiting = taken(&worker).unwrap();
    let (begun, _) = worker.begin().unwrap();
    let now = Instant::now();
    assert!(matches!(worker.due(now), Due::At(_)));
    worker.answer(begun, Ok(Response::new(whole_body(""))));
    assert!(waiting.await.is_ok());
    let later = Instant::now() + limits::INSTANCE_TIMEOUT;
    assert!(matches!(worker.due(now), Due::At(_)));
    assert!(matches!(worker.due(later), Due::Overdue));
    assert!(worker.rest());
    assert!(matches!(worker.due(now), Due::At(_)));
    assert!(matches!(worker.due(later), Due::Idle));
    assert!(taken(&worker).is_none(), "an instance that ends takes nothing");
}

#[tokio::test]
async fn a_stop_waits_for_instances_with_work_and_not_for_idle_ones() {
    let running = TaskTracker::new();
    let worker = Worker::new(Execution::default(), running.clone());
    running.close();
    let _waiting = taken(&worker).unwrap();
    assert!(!running.is_empty());
    let (begun, _) = worker.begin().unwrap();
    worker.answer(begun, Err(GuestFailure::Failed));
    assert!(!running.is_empty(), "its body may still be written");
    worker.rest();
    running.wait().await;
}

#[tokio::test]
async fn institutes_never_share_an_instance() {
    let pool = Pool::new(1);
    let (north, south) = (Some("north.example".to_owned()), Some("south.example".to_owned()));
    let worker = worker(10, 10);
    let place = pool.add(north.clone(), &worker);
    assert!(pool.offer(&south, &mut job()).is_none());
    assert!(pool.offer(&None, &mut job()).is_none());
    assert!(pool.offer(&north, &mut job()).is_some());
    pool.remove(&place, &worker);
    assert!(pool.offer(&north, &mut job()).is_none());
}
