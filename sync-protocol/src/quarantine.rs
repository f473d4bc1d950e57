//! How much of what was refused is kept: enough for a person to look at, too little for a device to fill a disk with.
//!
//! The same bounds hold at an edge, until the origin has its items, and at the origin, until an admin has settled them. What
//! has no room is refused all the same, and stays on the device that made it.

/// Items that are kept of one device: more than a careless client makes in a term.
pub const DEVICE_ITEMS_MAX: u64 = 1_000;
/// Bytes that are kept of one device: ten thousand edits by hand.
pub const DEVICE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Items that are kept of one institute: twenty devices that do nothing else.
pub const INSTITUTE_ITEMS_MAX: u64 = 20_000;
/// Bytes that are kept of one institute.
pub const INSTITUTE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is kept, of a device or of an institute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub items: u64,
    pub bytes: u64,
}

impl Usage {
    /// Adds an item.
    pub fn add(&mut self, bytes: usize) {
        self.items += 1;
        self.bytes += bytes as u64;
    }

    fn with(mut self, bytes: usize) -> Self {
        self.add(bytes);
        self
    }
}

/// Whether one more item of `bytes` may be kept, beside what is kept of its device and of its institute.
pub fn has_room(device: Usage, institute: Usage, bytes: usize) -> bool {
    let (device, institute) = (device.with(bytes), institute.with(bytes));
    device.items <= DEVICE_ITEMS_MAX
        && device.bytes <= DEVICE_BYTES_MAX
        && institute.items <= INSTITUTE_ITEMS_MAX
        && institute.bytes <= INSTITUTE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_alone() {
        let none = Usage::default();
        assert!(has_room(none, none, DEVICE_BYTES_MAX as usize));
        assert!(!has_room(none, none, DEVICE_BYTES_MAX as usize + 1));
        let items = |items| Usage { items, bytes: 0 };
        assert!(has_room(items(DEVICE_ITEMS_MAX - 1), none, 1));
        assert!(!has_room(items(DEVICE_ITEMS_MAX), none, 1));
        assert!(!has_room(none, items(INSTITUTE_ITEMS_MAX), 1));
        assert!(!has_room(none, Usage { items: 1, bytes: INSTITUTE_BYTES_MAX }, 1));
    }
}
