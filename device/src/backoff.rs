//! Growing pauses between attempts.

use std::time::Duration;

/// Doubles from `first` to `longest`; each pause is shortened at random by up to half, so that devices that lost the
/// same edge do not all come back in the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.longest);
        // Without randomness the pause is merely not spread.
        let random = getrandom::u32().unwrap_or(0);
        full.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= Duration::from_millis(100));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(1)));
        assert!(pauses[10..].iter().all(|pause| *pause >= Duration::from_millis(500)));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
