//! Delivery of what waits in the outbox.
//!
//! One device's commands go strictly in order, and only the holder of the device's lease sends them. Devices do not wait
//! for each other. A refused command is set aside with the origin's problem and the next one goes on; a command that the
//! origin did not decide on ends the device's turn; an origin that cannot be reached ends the run.

use crate::forward::{Forwarder, Verdict};
use crate::outbox::{Device, Outbox};
use futures_util::stream::{self, StreamExt as _};
use rollcall_guest::{Problem, now_ms};
use spin_sdk::time::sleep;
use std::cell::Cell;
use std::time::Duration;
use uuid::Uuid;

/// Devices served at once. One slow answer then holds up an eighth of the run.
const DEVICES_AT_ONCE: usize = 8;
/// Devices looked up at once.
const DEVICES_PER_ROUND: usize = 256;
/// A run begins no command after this, so that it answers within the 30 s that the host waits, the longest call of the
/// origin included. It outlasts a lease: what a crash left leased is delivered by the run that follows.
const RUN_MS: i64 = 16_000;
/// How soon a lease that somebody else holds is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A device that asks for its receipt waits this long at most, besides the command under way.
const RECEIPT_RUN_MS: i64 = 3_000;

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
}

struct Courier<'a> {
    outbox: &'a Outbox,
    forwarder: Forwarder,
    /// Names this run on the leases that it holds.
    holder: String,
    deadline_ms: i64,
    unreachable: Cell<bool>,
    /// Somebody else holds the lease of a device with something waiting.
    busy: Cell<bool>,
    delivered: Cell<u64>,
    refused: Cell<u64>,
}

/// Delivers for every device that has something waiting.
pub(crate) async fn deliver_all(outbox: &Outbox) -> Result<Run, Problem> {
    let courier = Courier::start(outbox, RUN_MS).await?;
    loop {
        let settled_before = courier.settled();
        courier.busy.set(false);
        let devices = outbox.waiting_devices(DEVICES_PER_ROUND).await?;
        let all = devices.len() < DEVICES_PER_ROUND;
        stream::iter(devices)
            .for_each_concurrent(DEVICES_AT_ONCE, async |device| {
                if let Err(problem) = courier.serve(&device).await {
                    eprintln!("delivery for device {}: {}", device.device, problem.detail);
                }
            })
            .await;
        let goes_on = !all && courier.settled() > settled_before;
        if courier.ended() || !(goes_on || courier.busy.get()) {
            return Ok(Run { delivered: courier.delivered.get(), refused: courier.refused.get() });
        }
        if !goes_on {
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Delivers what waits of one device.
pub(crate) async fn deliver_device(outbox: &Outbox, institute: &str, device: &str) -> Result<(), Problem> {
    let device = Device { institute: institute.to_owned(), device: device.to_owned() };
    Courier::start(outbox, RECEIPT_RUN_MS).await?.serve(&device).await
}

impl<'a> Courier<'a> {
    async fn start(outbox: &'a Outbox, run_ms: i64) -> Result<Self, Problem> {
        Ok(Self {
            outbox,
            forwarder: Forwarder::configured().await?,
            holder: Uuid::new_v4().to_string(),
            deadline_ms: now_ms() + run_ms,
            unreachable: Cell::new(false),
            busy: Cell::new(false),
            delivered: Cell::new(0),
            refused: Cell::new(0),
        })
    }

    fn settled(&self) -> u64 {
        self.delivered.get() + self.refused.get()
    }

    fn ended(&self) -> bool {
        self.unreachable.get() || now_ms() >= self.deadline_ms
    }

    async fn serve(&self, device: &Device) -> Result<(), Problem> {
        let served = self.serve_in_order(device).await;
        self.outbox.release(device, &self.holder).await?;
        served
    }

    async fn serve_in_order(&self, device: &Device) -> Result<(), Problem> {
        while !self.ended() {
            if !self.outbox.lease(device, &self.holder).await? {
                self.busy.set(true);
                return Ok(());
            }
            let Some((sequence, submission)) = self.outbox.next(device).await? else { return Ok(()) };
            match self.forwarder.forward(&submission).await {
                Verdict::Delivered(outcome) => {
                    self.outbox.settle_delivered(sequence, &outcome).await?;
                    self.delivered.set(self.delivered.get() + 1);
                }
                Verdict::Refused(outcome) => {
                    self.outbox.settle_refused(sequence, &outcome).await?;
                    self.refused.set(self.refused.get() + 1);
                }
                Verdict::TryAgain => return self.outbox.count_attempt(sequence).await,
                Verdict::Unreachable => {
                    self.unreachable.set(true);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
