//! Which request a guest answers when it makes one itself: to whose trace that belongs, and for whom it is when it goes to another
//! component.

use crate::limits;
use crate::trace_context::{TRACEPARENT, TRACESTATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::VecDeque;
use sync_protocol::token::{Claims, IDENTITY_HEADER};
use wasmtime::component::GuestTaskId;

/// What a request hands on to those that are made to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    trace: Option<Trace>,
    /// As the host has told the component who asks.
    identity: Option<HeaderValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Trace {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

const IDENTITY: HeaderName = HeaderName::from_static(IDENTITY_HEADER);

impl RequestContext {
    /// None for a request that has neither, such as the host's own.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(&TRACEPARENT).cloned();
        let trace = parent.map(|parent| Trace { parent, state: headers.get(&TRACESTATE).cloned() });
        let identity = headers.get(&IDENTITY).cloned();
        (trace.is_some() || identity.is_some()).then_some(Self { trace, identity })
    }

    /// Leaves headers alone that name a trace.
    pub(super) fn add_trace(&self, headers: &mut HeaderMap) {
        let Some(trace) = self.trace.as_ref().filter(|_| !headers.contains_key(&TRACEPARENT)) else { return };
        headers.insert(TRACEPARENT, trace.parent.clone());
        match &trace.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            // A state without its trace means nothing.
            None => headers.remove(&TRACESTATE),
        };
    }

    /// Tells another component of the application for whom the request is. Returns the institute.
    pub(super) fn add_identity(&self, headers: &mut HeaderMap) -> Option<String> {
        let identity = self.identity.as_ref()?;
        headers.insert(IDENTITY, identity.clone());
        // The host has written it.
        serde_json::from_slice::<Claims>(identity.as_bytes()).ok().map(|claims| claims.inst)
    }
}

/// The contexts of what one instance answers, by the guest's tasks. A task may work on after its answer, and nobody says when it
/// is over, so that the oldest are forgotten.
#[derive(Debug, Default)]
pub struct RequestContexts(VecDeque<(GuestTaskId, Option<RequestContext>)>);

impl RequestContexts {
    pub fn begin(&mut self, task: GuestTaskId, context: Option<RequestContext>) {
        if self.0.len() >= limits::CONTEXTS_PER_INSTANCE {
            self.0.pop_front();
        }
        self.0.push_back((task, context));
    }

    /// The newest: the number of a task that is over is given to another, which has nothing of the former.
    pub fn of(&self, task: GuestTaskId) -> Option<&RequestContext> {
        self.0.iter().rev().find(|(begun, _)| *begun == task)?.1.as_ref()
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
        let context = RequestContext::of(&headers(&[("traceparent", "p"), ("tracestate", "s")])).unwrap();
        let mut plain = headers(&[("accept", "*/*"), ("tracestate", "alone")]);
        context.add_trace(&mut plain);
        assert_eq!(plain, headers(&[("accept", "*/*"), ("traceparent", "p"), ("tracestate", "s")]));
        let own = headers(&[("traceparent", "own")]);
        let mut kept = own.clone();
        context.add_trace(&mut kept);
        assert_eq!(kept, own);
        let mut without_state = headers(&[("tracestate", "alone")]);
        RequestContext::of(&headers(&[("traceparent", "p")])).unwrap().add_trace(&mut without_state);
        assert_eq!(without_state, headers(&[("traceparent", "p")]));
        assert_eq!(RequestContext::of(&headers(&[("tracestate", "alone")])), None);
    }
}
