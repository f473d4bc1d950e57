//! Bodies whose instance fails before, while and after they are read.

use super::*;
use crate::execution::Execution;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Written through a channel, which ends it when it is dropped, as wasmtime's do.
struct Written(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl Body for Written {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

struct Instance {
    body: mpsc::UnboundedSender<Frame<Bytes>>,
    writing: Arc<Writing>,
}

impl Instance {
    fn answer() -> (Self, AnswerBody) {
        let (body, written) = mpsc::unbounded_channel();
        let writing = Writing::new(Written(written).boxed_unsync());
        let worker = Worker::new(Execution::default(), TaskTracker::new());
        let answer = AnswerBody::new(writing.clone(), worker, None);
        (Self { body, writing }, answer)
    }

    fn write(&self, data: &'static [u8]) {
        self.body.send(Frame::data(Bytes::from_static(data))).unwrap();
    }

    /// As a store goes when its guest traps.
    fn fail(self, failure: GuestFailure) {
        self.writing.cut(failure);
    }
}

async fn next(body: &mut AnswerBody) -> Option<Result<Bytes, Error>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

#[tokio::test]
async fn a_body_whose_instance_fails_ends_with_an_error_after_what_was_written() {
    for (failure, timed_out) in [(GuestFailure::Failed, false), (GuestFailure::TimedOut, true)] {
        let (instance, mut body) = Instance::answer();
        instance.write(b"one");
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "one");
        instance.write(b"two");
        instance.fail(failure);
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "two");
        let error = next(&mut body).await.unwrap().unwrap_err();
        assert_eq!(matches!(error, Error::HttpResponseTimeout), timed_out, "{error:?}");
        assert!(next(&mut body).await.is_none());
    }
}

#[tokio::test]
async fn a_reader_that_waits_is_told_of_the_failure() {
    let (instance, mut body) = Instance::answer();
    let reader = tokio::spawn(async move { next(&mut body).await });
    tokio::task::yield_now().await;
    instance.fail(GuestFailure::Failed);
    assert!(reader.await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_body_that_was_written_whole_is_whole_though_the_instance_fails_before_it_is_read() {
    let (instance, mut body) = Instance::answer();
    instance.write(b"all");
    let Instance { body: sender, writing } = instance;
    drop(sender);
    writing.cut(GuestFailure::Failed);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "all");
    assert!(next(&mut body).await.is_none());
    let (instance, mut body) = Instance::answer();
    instance.write(b"all");
    instance.body.send(Frame::trailers(http::HeaderMap::new())).unwrap();
    instance.fail(GuestFailure::Failed);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "all");
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert!(next(&mut body).await.is_none());
}
