//! Gathering wake-ups: where requests come one by one, each wakes its core, and waking is most of what it costs. A short sleep
//! before the core waits for its sockets lets several come, as network cards moderate interrupts.
//!
//! It happens only where it helps: while requests come neither so seldom that nothing would gather, nor many at a time anyway, and
//! only as long as they go on coming as fast as without. Senders that wait for each answer before they send again come slower when
//! they are answered later; then it stops. An idle relay never sleeps here, and nothing ticks.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::clock;
use crate::limits::{
    GATHER_AGAIN_WAKES, GATHER_CALLS_PER_WAKE_MAX, GATHER_CHECK_PAUSES, GATHER_GAP_MIN, GATHER_OBSERVE_WAKES,
    GATHER_PAUSES_MAX,
};

thread_local! {
    // The core of this thread. The runtime's hook may hold nothing that only one thread may see.
    static GATHER: RefCell<Gather> = RefCell::new(Gather::new(Duration::ZERO, clock::now()));
}

/// Sets how long the core of this thread may pause; zero for never.
pub(crate) fn begin(pause: Duration) {
    GATHER.set(Gather::new(pause, clock::now()));
}

/// A call has come from a sender.
pub(crate) fn call() {
    GATHER.with_borrow_mut(|gather| gather.calls += 1);
}

/// For the runtime to call before it waits: sleeps if it is worth it.
pub(crate) fn before_wait() {
    let pause = GATHER.with_borrow_mut(|gather| {
        let pause = gather.pause;
        // The clock is asked only where calls have come.
        (!pause.is_zero() && gather.calls > 0 && gather.decide(clock::now())).then_some(pause)
    });
    if let Some(pause) = pause {
        clock::block(pause);
    }
}

/// How one core's calls come.
#[derive(Debug)]
struct Gather {
    pause: Duration,
    /// Since the core waited last.
    calls: u32,
    mode: Mode,
    /// Of the window that is looked at now.
    window: Window,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Sees how calls come by themselves. So many wake-ups are let pass first.
    Observing { after: u32 },
    /// Pauses; calls came `natural` per second before, and `left` pauses are left until it is seen again how they come.
    Pausing { natural: f64, left: u32 },
}

/// Wake-ups that brought something, since when, and what they brought.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    wakes: u32,
    calls: u32,
}

impl Window {
    fn new(since: Instant) -> Self {
        Self { since, wakes: 0, calls: 0 }
    }

    fn calls_per_second(&self, now: Instant) -> f64 {
        f64::from(self.calls) / (now - self.since).as_secs_f64().max(1e-9)
    }
}

impl Gather {
    fn new(pause: Duration, now: Instant) -> Self {
        Self { pause, calls: 0, mode: Mode::Observing { after: 0 }, window: Window::new(now) }
    }

    /// Whether to pause now, after a turn in which calls have come.
    fn decide(&mut self, now: Instant) -> bool {
        self.window.calls += std::mem::take(&mut self.calls);
        self.window.wakes += 1;
        match self.mode {
            Mode::Observing { after: after @ 1.. } => {
                self.mode = Mode::Observing { after: after - 1 };
                self.window = Window::new(now);
            }
            Mode::Observing { .. } if self.window.wakes >= GATHER_OBSERVE_WAKES => {
                if self.is_worth_it(now) {
                    let natural = self.window.calls_per_second(now);
                    self.mode = Mode::Pausing { natural, left: GATHER_PAUSES_MAX };
                }
                self.window = Window::new(now);
            }
            Mode::Observing { .. } => {}
            Mode::Pausing { natural, left } => {
                self.mode = match left.checked_sub(1) {
                    Some(left) => Mode::Pausing { natural, left },
                    None => Mode::Observing { after: 0 },
                };
                if self.window.wakes >= GATHER_CHECK_PAUSES {
                    // Half as many, and it is the pauses that keep them from coming.
                    if self.window.calls_per_second(now) < natural / 2.0 {
                        self.mode = Mode::Observing { after: GATHER_AGAIN_WAKES };
                    }
                    self.window = Window::new(now);
                }
                if matches!(self.mode, Mode::Observing { .. }) {
                    self.window = Window::new(now);
                }
            }
        }
        matches!(self.mode, Mode::Pausing { .. })
    }

    /// Whether at least two wake-ups are to be expected in a pause, few calls come with each, and the core is not awake all the
    /// time.
    fn is_worth_it(&self, now: Instant) -> bool {
        let gap = (now - self.window.since) / self.window.wakes.max(1);
        let few = self.window.calls <= self.window.wakes * GATHER_CALLS_PER_WAKE_MAX;
        few && gap >= GATHER_GAP_MIN && gap <= self.pause / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(5);

    /// Pauses among `wakes` wake-ups. Calls come `gap` apart, `at_once` together; `waiting` senders do not send while the
    /// core pauses.
    fn pauses(gap: Duration, at_once: u32, waiting: bool, wakes: u32) -> u32 {
        let mut now = clock::now();
        let mut gather = Gather::new(PAUSE, now);
        let mut pauses = 0;
        for _ in 0..wakes {
            now += gap;
            gather.calls += at_once;
            if gather.decide(now) {
                pauses += 1;
                now += PAUSE;
                let in_pause = u32::try_from(PAUSE.as_micros() / gap.as_micros()).unwrap();
                gather.calls += if waiting { 0 } else { at_once * in_pause };
            }
        }
        pauses
    }

    #[test]
    fn a_trickle_is_gathered() {
        assert!(pauses(Duration::from_millis(1), 1, false, 10_000) > 8_000);
        assert!(pauses(Duration::from_micros(300), 1, false, 10_000) > 8_000);
    }

    #[test]
    fn a_quiet_node_and_a_busy_one_are_left_alone() {
        assert_eq!(pauses(Duration::from_millis(200), 1, false, 10_000), 0);
        assert_eq!(pauses(Duration::from_micros(50), 1, false, 10_000), 0);
        assert_eq!(pauses(Duration::from_millis(1), 32, false, 10_000), 0);
    }

    /// Senders that wait for each answer would be slowed down: that is noticed, and not tried again soon.
    #[test]
    fn senders_that_wait_are_let_go() {
        let paused = pauses(Duration::from_millis(1), 2, true, 100_000);
        assert!((1..1_000).contains(&paused), "{paused}");
    }

    #[test]
    fn switched_off_it_looks_at_nothing() {
        begin(Duration::ZERO);
        call();
        before_wait();
        assert_eq!(GATHER.with_borrow(|gather| gather.calls), 1);
    }
}
