//! Exact accounting of what is held: a [`Budget`] is the bound, a [`Charge`] is a share of it that gives itself back.
//!
//! Mostly it counts bytes; a queue's bound in requests or items is a budget too. What is charged is what is *held* (a
//! whole arena block, a whole receive buffer), not the bytes that are visible through a slice. No path may subtract from
//! a budget by hand: a charge is returned by dropping it.
//!
//! Bytes that several upstreams hold together are counted once in the budget of all: whoever holds them counts them in
//! its own share alone ("apart"), and the bytes themselves carry the charge that counts in the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on what is held, in bytes (or another unit), shared by all cores. A child's charges count in its parent too.
#[derive(Debug)]
pub struct Budget {
    units_max: usize,
    // units_max <= burst_max.
    burst_max: usize,
    // 0 <= used <= burst_max, but for `Charge::grow_past`, whose overshoot is one request per core.
    used: AtomicUsize,
    parent: Option<Arc<Self>>,
}

impl Budget {
    /// A budget of `units_max` units that stands alone.
    pub fn new(units_max: usize) -> Arc<Self> {
        Self::with_burst(units_max, units_max)
    }

    /// A budget of `units_max` units that one charge may exceed, up to `burst_max` in all, while the others hold no more
    /// than half of `units_max`: room for one very large request without room for many.
    pub fn with_burst(units_max: usize, burst_max: usize) -> Arc<Self> {
        let burst_max = burst_max.max(units_max);
        Arc::new(Self { units_max, burst_max, used: AtomicUsize::new(0), parent: None })
    }

    /// A budget of `units_max` units whose charges also count in `parent`, with the burst of the parent.
    pub fn child(parent: &Arc<Self>, units_max: usize) -> Arc<Self> {
        let burst_max = units_max + (parent.burst_max - parent.units_max);
        Arc::new(Self { units_max, burst_max, used: AtomicUsize::new(0), parent: Some(Arc::clone(parent)) })
    }

    /// The bound.
    pub fn units_max(&self) -> usize {
        self.units_max
    }

    /// Units charged at this moment.
    pub fn used(&self) -> usize {
        // Relaxed: a counter that orders nothing else.
        self.used.load(Ordering::Relaxed)
    }

    /// Whether `units` more would fit now, here and in every parent. Reserves nothing.
    pub fn has_room(&self, units: usize) -> bool {
        self.fits(self.used(), units) && self.parent.as_ref().is_none_or(|parent| parent.has_room(units))
    }

    /// Units that may be charged before this budget or a parent is full, without the burst.
    pub fn free(&self) -> usize {
        let own = self.units_max.saturating_sub(self.used());
        self.parent.as_ref().map_or(own, |parent| own.min(parent.free()))
    }

    /// Takes `units` of the budget, or `None` when they do not fit here or in a parent.
    pub fn try_charge(self: &Arc<Self>, units: usize) -> Option<Charge> {
        self.try_add(0, units, false).then(|| Charge { budget: Arc::clone(self), units, apart: 0 })
    }

    /// As [`Budget::try_charge`], for what is charged to the outermost parent already.
    pub fn try_charge_apart(self: &Arc<Self>, units: usize) -> Option<Charge> {
        self.try_add(0, units, true).then(|| Charge { budget: Arc::clone(self), units, apart: units })
    }

    /// A charge of nothing, to be grown later.
    pub fn empty_charge(self: &Arc<Self>) -> Charge {
        Charge { budget: Arc::clone(self), units: 0, apart: 0 }
    }

    /// The next budget outwards; of what is counted `apart`, not the outermost one.
    fn outer(&self, apart: bool) -> Option<&Self> {
        self.parent.as_deref().filter(|parent| !apart || parent.parent.is_some())
    }

    /// Whether a charge of `own` units fits beside the `others`.
    fn fits(&self, others: usize, own: usize) -> bool {
        let all = others.saturating_add(own);
        all <= self.units_max || (others <= self.units_max / 2 && all <= self.burst_max)
    }

    /// Adds `units` to a charge of `own`, which is counted already.
    fn try_add(&self, own: usize, units: usize, apart: bool) -> bool {
        // Not added to see whether it fits: until that is taken back it would be missing to other cores, and seen as held.
        let added = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let fits = self.fits(used.saturating_sub(own), own.saturating_add(units));
            fits.then(|| used.saturating_add(units))
        });
        if added.is_err() {
            return false;
        }
        if self.outer(apart).is_none_or(|parent| parent.try_add(own, units, apart)) {
            return true;
        }
        self.used.fetch_sub(units, Ordering::Relaxed);
        false
    }

    fn add(&self, units: usize, apart: bool) {
        self.used.fetch_add(units, Ordering::Relaxed);
        if let Some(parent) = self.outer(apart) {
            parent.add(units, apart);
        }
    }

    fn sub(&self, units: usize, apart: bool) {
        let before = self.used.fetch_sub(units, Ordering::Relaxed);
        debug_assert!(before >= units, "more units given back than were charged");
        if let Some(parent) = self.outer(apart) {
            parent.sub(units, apart);
        }
    }
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    units: usize,
    // Of the units, those that the outermost budget does not count.
    apart: usize,
}

impl Charge {
    /// Units of this charge.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Takes `units` more if they fit; says whether they did.
    #[must_use]
    pub fn try_grow(&mut self, units: usize) -> bool {
        let grown = self.budget.try_add(self.units, units, false);
        if grown {
            self.units += units;
        }
        grown
    }

    /// Takes `units` more, even past the bound: for memory that is held already when it is counted.
    pub fn grow_past(&mut self, units: usize) {
        self.budget.add(units, false);
        self.units += units;
    }

    /// As [`Charge::grow_past`], for what is charged to the outermost parent already.
    pub fn grow_past_apart(&mut self, units: usize) {
        self.budget.add(units, true);
        self.units += units;
        self.apart += units;
    }

    /// Moves up to `units` of this charge into one of their own; the budget does not change.
    pub fn split_off(&mut self, units: usize) -> Self {
        let moved = units.min(self.units);
        let apart = moved.min(self.apart);
        self.units -= moved;
        self.apart -= apart;
        Self { budget: Arc::clone(&self.budget), units: moved, apart }
    }

    /// Takes all of `other`, a charge of the same budget, which does not change.
    pub fn absorb(&mut self, other: &mut Self) {
        self.units += std::mem::take(&mut other.units);
        self.apart += std::mem::take(&mut other.apart);
    }

    /// Moves up to `units` of `from`, a charge of the same budget, into this one; says how many are missing.
    pub fn draw(&mut self, from: &mut Self, units: usize) -> usize {
        let moved = units.min(from.units);
        let apart = moved.min(from.apart);
        from.units -= moved;
        from.apart -= apart;
        self.units += moved;
        self.apart += apart;
        units - moved
    }

    /// Leaves an empty charge of the same budget behind and returns all of this one.
    pub fn take(&mut self) -> Self {
        self.split_off(self.units)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.units > self.apart {
            self.budget.sub(self.units - self.apart, false);
        }
        if self.apart > 0 {
            self.budget.sub(self.apart, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_count_in_the_parent_and_return_on_drop() {
        let parent = Budget::new(100);
        let child = Budget::child(&parent, 80);
        let charge = child.try_charge(60).unwrap();
        assert_eq!((parent.used(), child.used()), (60, 60));
        assert!(child.try_charge(30).is_none(), "the child's own bound");
        let other = parent.try_charge(40).unwrap();
        assert!(child.try_charge(1).is_none(), "the parent is full");
        assert_eq!((parent.used(), child.used()), (100, 60), "a refused charge leaves nothing behind");
        drop((charge, other));
        assert_eq!((parent.used(), child.used()), (0, 0));
    }

    #[test]
    fn splitting_and_growing_past_keep_the_sum() {
        let budget = Budget::new(10);
        let mut charge = budget.try_charge(8).unwrap();
        assert!(!charge.try_grow(3));
        charge.grow_past(3);
        let half = charge.split_off(5);
        assert_eq!((charge.units(), half.units(), budget.used()), (6, 5, 11));
        drop(half);
        assert_eq!(budget.used(), 6);
        let all = charge.take();
        drop(charge);
        assert_eq!(budget.used(), 6);
        drop(all);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_large_charge_may_exceed_the_bound_many_may_not() {
        let parent = Budget::with_burst(100, 300);
        let budget = Budget::child(&parent, 100);
        let small = budget.try_charge(50).unwrap();
        let mut large = budget.try_charge(10).unwrap();
        assert!(large.try_grow(240) && !large.try_grow(1), "300 in all");
        assert!(!budget.has_room(1), "the others hold more than half now");
        drop(large);
        let more = budget.try_charge(1).unwrap();
        assert!(!budget.has_room(60), "51 are more than half of 100");
        drop((small, more));
        assert!(budget.has_room(300) && !budget.has_room(301));
        assert_eq!(parent.used(), 0);
    }

    /// Three upstreams that hold the same bytes: each counts them in its share, the relay counts them once.
    #[test]
    fn what_is_held_together_counts_once_in_the_whole() {
        let whole = Budget::new(90);
        let shares: Vec<_> = (0..3).map(|_| Budget::child(&Budget::child(&whole, 30), 30)).collect();
        let bytes = whole.try_charge(20).unwrap();
        let mut held: Vec<_> = shares.iter().map(|share| share.try_charge_apart(20).unwrap()).collect();
        assert_eq!((whole.used(), shares[0].used(), shares[0].free()), (20, 20, 10));
        assert!(shares[0].try_charge_apart(11).is_none(), "its own share is the bound");
        let mut half = held[0].split_off(5);
        held[1].grow_past_apart(15);
        held[1].grow_past(1);
        assert_eq!((whole.used(), shares[1].used()), (21, 36));
        assert_eq!(held[0].draw(&mut half, 7), 2);
        held[0].absorb(&mut half);
        drop((bytes, held));
        assert_eq!(whole.used() + shares.iter().map(|share| share.used()).sum::<usize>(), 0);
    }

    #[test]
    fn sums_near_the_end_of_the_range_are_refused_not_wrapped() {
        let budget = Budget::new(usize::MAX - 1);
        let _held = budget.try_charge(10).unwrap();
        assert!(budget.try_charge(usize::MAX - 5).is_none());
        assert_eq!(budget.used(), 10);
    }
}
