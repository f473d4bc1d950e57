//! What is counted for each component; `access.rs` counts for each route. Recorded through the `metrics` facade: without a recorder it costs nothing.

use super::GuestFailure;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    cpu: Histogram,
    memory_peak: Gauge,
    memory_peak_bytes: AtomicU64,
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
            cpu: histogram!("rollcall_guest_instance_cpu_seconds", "component" => label()),
            memory_peak: gauge!("rollcall_guest_memory_peak_bytes", "component" => label()),
            memory_peak_bytes: AtomicU64::new(0),
            component,
        }
    }

    /// One request is over: answered, or given up.
    pub(super) fn request(&self, failure: Option<GuestFailure>) {
        self.requests.increment(1);
        match failure {
            None => {}
            Some(GuestFailure::Busy) => self.busy.increment(1),
            Some(GuestFailure::Failed) => self.failed.increment(1),
            Some(GuestFailure::TimedOut) => self.timed_out.increment(1),
        }
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
        self.cpu.record(cpu);
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

/// Says what the metrics of this file mean, to whoever collects them.
pub(super) fn describe() {
    describe_counter!(
        "rollcall_guest_requests_total",
        "Requests that a component was given, answered or not."
    );
    describe_counter!(
        "rollcall_guest_errors_total",
        "Requests without an answer of the component, by reason."
    );
    describe_counter!("rollcall_guest_traps_total", "Instances that trapped or were stopped, by reason.");
    describe_gauge!("rollcall_guest_instances", "Instances that there are, idle ones too.");
    describe_counter!("rollcall_guest_instances_created_total", "Instances that were made.");
    describe_counter!("rollcall_guest_instances_reused_total", "Requests that found an instance.");
    describe_histogram!("rollcall_guest_queue_wait_seconds", "How long requests waited that had to.");
    describe_histogram!("rollcall_guest_instance_cpu_seconds", "Processor time of an instance in its life.");
    describe_gauge!("rollcall_guest_memory_peak_bytes", "Most memory that an instance of a component held.");
}
