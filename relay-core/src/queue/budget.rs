//! Exact accounting of what is held: a [`Budget`] is the bound, a [`Charge`] is a share of it that gives itself back.
//!
//! Mostly it counts bytes; a queue's bound in requests or items is a budget too. What is charged is what is *held* (a whole arena block, a whole receive buffer), not the bytes that are visible
//! through a slice. No path may subtract from a budget by hand: a charge is returned by dropping it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on what is held, in bytes (or another unit), shared by all cores. A child's charges count in its parent too.
#[derive(Debug)]
pub struct Budget {
    units_max: usize,
    // 0 <= used; used <= units_max except for `Charge::grow_past`, whose overshoot is one arena block per open batch.
    used: AtomicUsize,
    parent: Option<Arc<Self>>,
}

impl Budget {
    /// A budget of `units_max` units that stands alone.
    pub fn new(units_max: usize) -> Arc<Self> {
        Arc::new(Self { units_max, used: AtomicUsize::new(0), parent: None })
    }

    /// A budget of `units_max` units whose charges also count in `parent`.
    pub fn child(parent: &Arc<Self>, units_max: usize) -> Arc<Self> {
        let parent = Some(Arc::clone(parent));
        Arc::new(Self { units_max, used: AtomicUsize::new(0), parent })
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
        let here = self.used().saturating_add(units) <= self.units_max;
        here && self.parent.as_ref().is_none_or(|parent| parent.has_room(units))
    }

    /// Takes `units` of the budget, or `None` when they do not fit here or in a parent.
    pub fn try_charge(self: &Arc<Self>, units: usize) -> Option<Charge> {
        self.try_add(units).then(|| Charge { budget: Arc::clone(self), units })
    }

    /// A charge of nothing, to be grown later.
    pub fn empty_charge(self: &Arc<Self>) -> Charge {
        Charge { budget: Arc::clone(self), units: 0 }
    }

    fn try_add(&self, units: usize) -> bool {
        let before = self.used.fetch_add(units, Ordering::Relaxed);
        let fits = before.checked_add(units).is_some_and(|after| after <= self.units_max);
        if fits && self.parent.as_ref().is_none_or(|parent| parent.try_add(units)) {
            return true;
        }
        self.used.fetch_sub(units, Ordering::Relaxed);
        false
    }

    fn add(&self, units: usize) {
        self.used.fetch_add(units, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.add(units);
        }
    }

    fn sub(&self, units: usize) {
        let before = self.used.fetch_sub(units, Ordering::Relaxed);
        debug_assert!(before >= units, "more units given back than were charged");
        if let Some(parent) = &self.parent {
            parent.sub(units);
        }
    }
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    units: usize,
}

impl Charge {
    /// Units of this charge.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Takes `units` more if they fit; says whether they did.
    #[must_use]
    pub fn try_grow(&mut self, units: usize) -> bool {
        let grown = self.budget.try_add(units);
        if grown {
            self.units += units;
        }
        grown
    }

    /// Takes `units` more, even past the bound: for memory that is held already when it is counted.
    pub fn grow_past(&mut self, units: usize) {
        self.budget.add(units);
        self.units += units;
    }

    /// Moves up to `units` of this charge into one of their own; the budget does not change.
    pub fn split_off(&mut self, units: usize) -> Self {
        let moved = units.min(self.units);
        self.units -= moved;
        Self { budget: Arc::clone(&self.budget), units: moved }
    }

    /// Leaves an empty charge of the same budget behind and returns all of this one.
    pub fn take(&mut self) -> Self {
        self.split_off(self.units)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.units > 0 {
            self.budget.sub(self.units);
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
    fn sums_near_the_end_of_the_range_are_refused_not_wrapped() {
        let budget = Budget::new(usize::MAX - 1);
        let _held = budget.try_charge(10).unwrap();
        assert!(budget.try_charge(usize::MAX - 5).is_none());
        assert_eq!(budget.used(), 10);
    }
}
