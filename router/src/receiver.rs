//! Who receives VXLAN on this node: the kernel's device, or the process.
//!
//! The node tries its own kernel: what it sends to its own UDP 6784 over loopback has to come out of the bridge. Where that
//! fails, for whatever reason (the device is down, filtered, unplugged, or another process has the port), the process takes
//! over before peers have given up, and leaves it to the kernel again when that has worked for a while. How long a while is
//! doubles each time.

use std::time::Duration;

/// How often the kernel is tried.
pub const PERIOD: Duration = Duration::from_millis(100);
/// Tries in a row that fail before the process takes over,
const MISSES: u8 = 3;
/// and that do not before the kernel does,
const HITS: u8 = 10;
/// no sooner than after this, the first time,
const HOLD: Duration = Duration::from_secs(2);
/// and this, after many.
const HOLD_MAX: Duration = Duration::from_secs(300);
/// After so long without trouble all is forgotten.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Decides who receives.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    kernel: bool,
    misses: u8,
    hits: u8,
    since: Duration,
    hold: Duration,
    awaited: bool,
}

impl Receiver {
    /// The kernel receives, if there is a device.
    pub const fn new(kernel: bool, now: Duration) -> Self {
        Self { kernel, misses: 0, hits: 0, since: now, hold: Duration::ZERO, awaited: false }
    }

    /// Whether the kernel receives.
    pub const fn kernel(&self) -> bool {
        self.kernel
    }

    /// What was sent has come out of the bridge.
    pub fn answered(&mut self) {
        self.awaited = false;
        self.misses = 0;
        self.hits = self.hits.saturating_add(1);
    }

    /// To be called every [`PERIOD`], after all that has come was told; then a try is to be sent. Whether somebody else
    /// receives from now on.
    pub fn tick(&mut self, device: bool, now: Duration) -> bool {
        if self.awaited || !device {
            (self.hits, self.misses) = (0, self.misses.saturating_add(1));
        }
        self.awaited = device;
        let kernel = if self.kernel {
            device && self.misses < MISSES
        } else {
            device && self.hits >= HITS && now >= self.since + self.hold
        };
        if kernel == self.kernel {
            return false;
        }
        if !kernel {
            let quiet = now >= self.since + FORGIVEN;
            self.hold =
                if quiet || self.hold.is_zero() { HOLD } else { (self.hold * 2).min(HOLD_MAX) };
        }
        (self.kernel, self.since, self.misses, self.hits) = (kernel, now, 0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks for so many seconds; whether the kernel receives at the end, and when that changed.
    fn run(
        it: &mut Receiver,
        from: u64,
        seconds: u64,
        works: impl Fn(u64) -> bool,
        device: bool,
    ) -> Vec<(u64, bool)> {
        let mut changes = Vec::new();
        for ms in (from..from + seconds * 1_000).step_by(100) {
            if it.tick(device, Duration::from_millis(ms)) {
                changes.push((ms - from, it.kernel()));
            }
            if device && works(ms) {
                it.answered();
            }
        }
        changes
    }

    #[test]
    fn a_kernel_that_receives_nothing_is_relieved_in_400_ms_and_receives_again_when_it_does() {
        let mut it = Receiver::new(true, Duration::ZERO);
        assert_eq!(run(&mut it, 0, 10, |_| true, true), []);

        let changes = run(&mut it, 10_000, 20, |ms| ms >= 15_000, true);

        let [(off, false), (on, true)] = changes[..] else { panic!("{changes:?}") };
        assert!(off <= 400 && (6_000..6_500).contains(&on), "{changes:?}");
    }

    #[test]
    fn a_try_that_is_lost_now_and_then_is_nothing() {
        let mut it = Receiver::new(true, Duration::ZERO);

        assert_eq!(run(&mut it, 0, 60, |ms| ms / 100 % 3 != 0, true), []);
    }

    #[test]
    fn without_a_device_the_process_receives_at_once_and_longer_with_each_time() {
        let mut it = Receiver::new(true, Duration::ZERO);
        let mut waits = Vec::new();
        for round in 0..5 {
            let from = round * 100_000;
            let gone = run(&mut it, from, 1, |_| true, false);
            assert_eq!(gone, [(0, false)]);
            let back = run(&mut it, from + 1_000, 99, |_| true, true);
            let [(after, true)] = back[..] else { panic!("{back:?}") };
            waits.push(after);
        }

        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }
}
