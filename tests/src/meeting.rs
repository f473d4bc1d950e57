//! Devices that have met: everything that one has, the edge and the others have too.

use crate::{SOON, until};
use device::{Device, DocumentId};

/// Waits until the edge has acknowledged everything and all devices are equal.
pub async fn in_step(devices: &[&Device], document: DocumentId) {
    until("the devices to be in step", SOON, async || {
        let first = devices.first()?.heads(document).ok()?;
        let equal = devices.iter().all(|device| {
            device.heads(document).is_ok_and(|heads| heads == first)
                && device.acknowledged(document).unwrap_or(false)
        });
        equal.then_some(())
    })
    .await;
}
