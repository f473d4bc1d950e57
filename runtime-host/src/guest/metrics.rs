//! What is counted for each component and each route. Recorded through the `metrics` facade: without a recorder it costs nothing.

use super::GuestFailure;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Routes that are counted; one application has tens.
const MAX_ROUTES: usize = 1_000;

pub(super) struct GuestMetrics {
    component: Arc<str>,
    requests: Counter,
    failed: Counter,
    timed_out: Counter,
    busy: Counter,
    instances: Gauge,
    created: Counter,
    reused: Counter,
    queue_wait: Histogram,
    cpu: Counter,
    memory_peak: Gauge,
    memory_peak_bytes: AtomicU64,
    routes: RwLock<HashMap<String, Arc<RouteMetrics>>>,
}

struct RouteMetrics {
    requests: Counter,
    errors: Counter,
    duration: Histogram,
}

impl GuestMetrics {
    pub(super) fn new(component: Arc<str>) -> Self {
        let label = || component.to_string();
        let errors = |kind| counter!("rollcall_guest_errors_total", "component" => label(), "kind" => kind);
        Self {
            requests: counter!("rollcall_guest_requests_total", "component" => label()),
            failed: errors("failed"),
            timed_out: errors("timed-out"),
            busy: errors("busy"),
            instances: gauge!("rollcall_guest_instances", "component" => label()),
            created: counter!("rollcall_guest_instances_created_total", "component" => label()),
            reused: counter!("rollcall_guest_instances_reused_total", "component" => label()),
            queue_wait: histogram!("rollcall_guest_queue_wait_seconds", "component" => label()),
            cpu: counter!("rollcall_guest_cpu_microseconds_total", "component" => label()),
            memory_peak: gauge!("rollcall_guest_memory_peak_bytes", "component" => label()),
            memory_peak_bytes: AtomicU64::new(0),
            routes: RwLock::default(),
            component,
        }
    }

    /// One request is over: answered, or given up.
    pub(super) fn request(&self, route: Option<&str>, failure: Option<GuestFailure>, taken: Duration) {
        self.requests.increment(1);
        match failure {
            None => {}
            Some(GuestFailure::Busy) => self.busy.increment(1),
            Some(GuestFailure::Failed) => self.failed.increment(1),
            Some(GuestFailure::TimedOut) => self.timed_out.increment(1),
        }
        let Some(route) = route.and_then(|route| self.route(route)) else { return };
        route.requests.increment(1);
        route.errors.increment(u64::from(failure.is_some()));
        route.duration.record(taken);
    }

    fn route(&self, route: &str) -> Option<Arc<RouteMetrics>> {
        if let Some(known) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route) {
            return Some(known.clone());
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.len() >= MAX_ROUTES {
            return None;
        }
        let labels = [("component", self.component.to_string()), ("route", route.to_owned())];
        let new = RouteMetrics {
            requests: counter!("rollcall_route_requests_total", &labels),
            errors: counter!("rollcall_route_errors_total", &labels),
            duration: histogram!("rollcall_route_duration_seconds", &labels),
        };
        Some(routes.entry(route.to_owned()).or_insert(Arc::new(new)).clone())
    }

    pub(super) fn waited(&self, wait: Duration) {
        self.queue_wait.record(wait);
    }

    pub(super) fn instance_made(&self) {
        self.instances.increment(1);
        self.created.increment(1);
    }

    pub(super) fn instance_gone(&self, requests: usize, cpu: Duration) {
        self.instances.decrement(1);
        self.reused.increment(requests.saturating_sub(1) as u64);
        self.cpu.increment(cpu.as_micros() as u64);
    }

    /// `kind` is a word of ours, never of a guest.
    pub(super) fn trap(&self, kind: &'static str) {
        counter!("rollcall_guest_traps_total", "component" => self.component.to_string(), "kind" => kind)
            .increment(1);
    }

    pub(super) fn memory(&self, peak_bytes: usize) {
        let peak = peak_bytes as u64;
        if self.memory_peak_bytes.fetch_max(peak, Ordering::Relaxed) < peak {
            self.memory_peak.set(peak as f64);
        }
    }
}
