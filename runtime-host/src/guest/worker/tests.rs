//! What a worker takes, gives back and fails, and which institute's worker is asked. No guest is needed for that.

use super::*;
use crate::guest::pool::Pool;
use crate::problem::whole_body;
use http_body_util::BodyExt as _;

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
    let later = Instant::now() + Execution::default().body_timeout;
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

#[tokio::test]
async fn a_body_that_moves_keeps_its_instance_however_long_it_takes() {
    let execution = Execution { body_timeout: Duration::from_millis(50), ..Execution::default() };
    let worker = Worker::new(execution, TaskTracker::new());
    let waiting = taken(&worker).unwrap();
    let (begun, _) = worker.begin().unwrap();
    worker.answer(begun, Ok(Response::new(whole_body("x"))));
    let mut answer = waiting.await.ok().unwrap().into_body();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(matches!(worker.due(Instant::now()), Due::Overdue), "nothing has moved");
    assert!(answer.frame().await.unwrap().is_ok());
    assert!(matches!(worker.due(Instant::now()), Due::At(_)), "a piece was taken");
    let later = Instant::now() + Duration::from_millis(60);
    assert!(matches!(worker.due(later), Due::Overdue));
}

#[tokio::test]
async fn an_instance_whose_answer_is_read_stays_though_the_others_wait_no_more() {
    let worker = worker(10, 10);
    let (reading, leaving) = (taken(&worker).unwrap(), taken(&worker).unwrap());
    let (read, _) = worker.begin().unwrap();
    worker.begin().unwrap();
    worker.answer(read, Ok(Response::new(whole_body("long"))));
    let answer = reading.await.ok().unwrap();
    drop(leaving);
    assert!(matches!(worker.after_poll(), Verdict::GoOn), "its body is still read");
    drop(answer);
    assert!(matches!(worker.after_poll(), Verdict::End(_)), "and now nobody wants anything");
}

/// Answers the one request of an instance, and says whether it ends when the answer is let go after so many pieces.
async fn ends_after(pieces: usize, head: bool, length: Option<u64>) -> bool {
    let worker = Worker::once(Execution::default(), TaskTracker::new());
    let mut request = Request::new(whole_body(""));
    if head {
        *request.method_mut() = Method::HEAD;
    }
    let waiting = worker.offer(&mut Some(Job { request, finished: Box::new(()) })).unwrap();
    let (begun, _) = worker.begin().unwrap();
    let endless =
        futures_util::stream::repeat_with(|| Ok(http_body::Frame::data(bytes::Bytes::from_static(b"x"))));
    let mut response = Response::new(http_body_util::StreamBody::new(endless).boxed_unsync());
    if let Some(length) = length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    worker.answer(begun, Ok(response));
    let mut answer = waiting.await.ok().unwrap().into_body();
    for _ in 0..pieces {
        answer.frame().await.unwrap().unwrap();
    }
    drop(answer);
    matches!(worker.after_poll(), Verdict::End(_))
}

#[tokio::test]
async fn an_instance_of_one_request_ends_when_its_reader_leaves_and_not_when_all_was_read() {
    assert!(ends_after(0, false, None).await);
    assert!(ends_after(3, false, None).await);
    assert!(ends_after(3, false, Some(4)).await);
    assert!(!ends_after(4, false, Some(4)).await, "as long as it said it would be");
    assert!(!ends_after(0, true, None).await, "nobody reads the body of an answer to HEAD");
}
