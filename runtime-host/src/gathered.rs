//! The beginning of an answer's body, put together before the head goes out.
//!
//! A guest answers first and writes the body then. Sent as it comes, a short answer would be three pieces (head and data, the
//! end, and what the client is woken for in between), with a system call and a packet for each of two. Its guest is at work on
//! the same thread, so a turn for it is nearly always enough to have all, which then goes out at once and with its length.

use crate::limits;
use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

/// What of a body is there already, and the body that the rest comes from; none once it has ended.
struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<WasiBody>,
}

/// The answer with as much of its body as its guest writes in its next turns on this thread, at most
/// [`limits::GATHERED_BYTES`]. Whole when the body ends with that; else the rest comes as it is written.
///
/// Nothing is waited for: a guest that has something else to do first has its head sent without.
///
/// An error when the body is known to be faulty before anything of the answer went out: the client had better hear of that than
/// of an answer that is cut off.
pub(crate) async fn gather(
    method: &Method,
    response: Response<WasiBody>,
) -> Result<Response<WasiBody>, Error> {
    // Their heads tell the length of a body that is not there.
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    if bodiless || method == Method::HEAD || method == Method::CONNECT {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let mut gathered = Gathered { frames: VecDeque::new(), rest: Some(body) };
    let (mut turns, mut bytes) = (limits::GATHER_TURNS, 0);
    poll_fn(|cx| gathered.poll_gather(cx, &mut turns, &mut bytes)).await?;
    Ok(Response::from_parts(parts, gathered.into_body()))
}

impl Gathered {
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        turns: &mut usize,
        bytes: &mut usize,
    ) -> Poll<Result<(), Error>> {
        while let Some(body) = &mut self.rest {
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Some(Ok(next))) => {
                    let data = next.data_ref().map(Bytes::len);
                    *bytes += data.unwrap_or(0);
                    self.frames.push_back(next);
                    // After trailers there is nothing to add.
                    if data.is_none() || *bytes >= limits::GATHERED_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(None) => self.rest = None,
                Poll::Pending if *turns == 0 => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    *turns -= 1;
                    // To the end of the thread's queue, in which the guest is now.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn into_body(mut self) -> WasiBody {
        let data_alone = self.frames.iter().all(Frame::is_data);
        if self.rest.is_some() || !data_alone {
            return self.boxed_unsync();
        }
        let mut data = self.frames.drain(..).filter_map(|next| next.into_data().ok());
        let first = data.next().unwrap_or_default();
        let whole = match data.next() {
            None => first,
            Some(second) => {
                let mut all = BytesMut::from(first);
                [second].into_iter().chain(data).for_each(|more| all.extend_from_slice(&more));
                all.freeze()
            }
        };
        Full::new(whole).map_err(|never| match never {}).boxed_unsync()
    }
}

impl Body for Gathered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(next) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(next)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let here = self.frames.iter().filter_map(Frame::data_ref);
        let here: u64 = here.map(|data| data.len() as u64).sum();
        let Some(rest) = self.rest.as_ref().map(Body::size_hint) else {
            // Trailers follow, for which no length may be promised.
            return SizeHint::new();
        };
        let mut hint = SizeHint::new();
        hint.set_lower(here + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(here + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests;
