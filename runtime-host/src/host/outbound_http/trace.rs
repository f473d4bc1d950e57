//! Which trace a guest's requests to other servers belong to: that of the request which the guest answers with them, unless the
//! guest says it itself.

use crate::limits;
use crate::trace_context::{TRACEPARENT, TRACESTATE};
use http::{HeaderMap, HeaderValue};
use std::collections::VecDeque;
use wasmtime::component::GuestTaskId;

/// What a request hands on of its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundTrace {
    traceparent: HeaderValue,
    tracestate: Option<HeaderValue>,
}

impl OutboundTrace {
    /// None for a request of the host's own.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let traceparent = headers.get(&TRACEPARENT)?.clone();
        Some(Self { traceparent, tracestate: headers.get(&TRACESTATE).cloned() })
    }

    /// Leaves headers alone that name a trace.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        if headers.contains_key(&TRACEPARENT) {
            return;
        }
        headers.insert(TRACEPARENT, self.traceparent.clone());
        match &self.tracestate {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            // A state without its trace means nothing.
            None => headers.remove(&TRACESTATE),
        };
    }
}

/// The traces of what one instance answers, by the guest's tasks. A task may work on after its answer, and nobody says when it
/// is over, so that the oldest are forgotten.
#[derive(Debug, Default)]
pub struct Traces(VecDeque<(GuestTaskId, OutboundTrace)>);

impl Traces {
    pub fn begin(&mut self, task: GuestTaskId, trace: OutboundTrace) {
        if self.0.len() >= limits::TRACES_PER_INSTANCE {
            self.0.pop_front();
        }
        self.0.push_back((task, trace));
    }

    /// The newest: the number of a task that is over is given to another.
    pub fn of(&self, task: GuestTaskId) -> Option<&OutboundTrace> {
        self.0.iter().rev().find(|(begun, _)| *begun == task).map(|(_, trace)| trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_gets_the_trace_unless_it_has_one() {
        let trace = OutboundTrace::of(&headers(&[("traceparent", "p"), ("tracestate", "s")])).unwrap();
        let mut plain = headers(&[("accept", "*/*"), ("tracestate", "alone")]);
        trace.add_to(&mut plain);
        assert_eq!(plain, headers(&[("accept", "*/*"), ("traceparent", "p"), ("tracestate", "s")]));
        let own = headers(&[("traceparent", "own")]);
        let mut kept = own.clone();
        trace.add_to(&mut kept);
        assert_eq!(kept, own);
        let mut without_state = headers(&[("tracestate", "alone")]);
        OutboundTrace::of(&headers(&[("traceparent", "p")])).unwrap().add_to(&mut without_state);
        assert_eq!(without_state, headers(&[("traceparent", "p")]));
        assert_eq!(OutboundTrace::of(&headers(&[("tracestate", "s")])), None);
    }
}
