//! Bodies that come in pieces, late, with trailers or with a fault.

use super::*;
use http::HeaderMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// What a poll of the guest's body finds.
enum Step {
    Data(&'static [u8]),
    Trailers,
    Fault,
    /// Nothing, until polled again.
    Nothing,
}

struct Scripted(VecDeque<Step>);

impl Body for Scripted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(match self.0.pop_front() {
            None => None,
            Some(Step::Data(data)) => Some(Ok(Frame::data(Bytes::from_static(data)))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Step::Fault) => Some(Err(Error::ConnectionReadTimeout)),
            Some(Step::Nothing) => return Poll::Pending,
        })
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer(steps: impl IntoIterator<Item = Step>) -> Response<WasiBody> {
    Response::new(Scripted(steps.into_iter().collect()).boxed_unsync())
}

/// Polls until the answer is there, as often as it asks to be.
fn gathered(method: Method, response: Response<WasiBody>) -> WasiBody {
    tried(method, response).unwrap()
}

fn tried(method: Method, response: Response<WasiBody>) -> Result<WasiBody, Error> {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut work = std::pin::pin!(gather(&method, response));
    for polled in 0.. {
        assert_eq!(wakes.0.load(Ordering::Relaxed), polled, "it asks to be polled again, and once");
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(response) => return response.map(Response::into_body),
            Poll::Pending => assert!(polled < limits::GATHER_TURNS, "it waits for the guest"),
        }
    }
    unreachable!("the loop has no end")
}

fn collected(body: WasiBody) -> Result<(Bytes, bool), Error> {
    let mut work = std::pin::pin!(body.collect());
    let Poll::Ready(collected) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the body has more to wait for");
    };
    let collected = collected?;
    let trailers = collected.trailers().is_some();
    Ok((collected.to_bytes(), trailers))
}

#[test]
fn a_short_answer_has_its_length_though_it_came_in_pieces() {
    let pieces = [Step::Data(b"Hello, "), Step::Nothing, Step::Data(b"world!")];
    let body = gathered(Method::GET, answer(pieces));
    assert_eq!(body.size_hint().exact(), Some(13));
    assert_eq!(collected(body).unwrap(), (Bytes::from_static(b"Hello, world!"), false));
    assert_eq!(gathered(Method::GET, answer([])).size_hint().exact(), Some(0));
}

#[test]
fn a_guest_that_waits_has_its_head_sent_without_a_body() {
    let waits = std::iter::repeat_with(|| Step::Nothing).take(100);
    let body = gathered(Method::GET, answer(waits.chain([Step::Data(b"late")])));
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), None);
}

#[test]
fn a_long_body_is_not_kept_back() {
    static PIECE: [u8; 4096] = [7; 4096];
    let pieces = limits::GATHERED_BYTES / PIECE.len();
    let endless = (0..10 * pieces).map(|_| Step::Data(&PIECE));
    let body = gathered(Method::GET, answer(endless));
    assert_eq!(body.size_hint().lower(), limits::GATHERED_BYTES as u64);
    assert_eq!(collected(body).unwrap().0.len(), 10 * pieces * PIECE.len(), "and nothing of it is lost");
}

#[test]
fn trailers_come_after_the_data() {
    let body = gathered(Method::GET, answer([Step::Data(b"data"), Step::Trailers]));
    assert_eq!(body.size_hint().exact(), None, "with a length there would be no trailers");
    assert_eq!(collected(body).unwrap(), (Bytes::from_static(b"data"), true));
}

#[test]
fn a_fault_is_told_instead_of_the_head_and_after_the_head_in_its_place() {
    let error = tried(Method::GET, answer([Step::Data(b"data"), Step::Fault])).unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
    let waits = std::iter::repeat_with(|| Step::Nothing).take(limits::GATHER_TURNS + 1);
    let mut body =
        gathered(Method::GET, answer([Step::Data(b"data")].into_iter().chain(waits).chain([Step::Fault])));
    assert_eq!(body.size_hint().exact(), None);
    let mut next = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(next(), Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))));
}

#[test]
fn the_length_of_a_body_that_is_not_sent_is_the_guests_to_tell() {
    assert_eq!(gathered(Method::HEAD, answer([])).size_hint().exact(), None);
    let mut unchanged = answer([]);
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    assert_eq!(gathered(Method::GET, unchanged).size_hint().exact(), None);
    let full = Full::new(Bytes::from_static(b"x")).map_err(|never: Infallible| match never {});
    let body = gathered(Method::GET, Response::new(full.boxed_unsync()));
    assert_eq!(body.size_hint().exact(), Some(1));
}
