//! A global allocator that counts, for tests that promise how often something allocates.
//!
//! Must never change what the system allocator does, nor allocate itself: it runs inside every allocation of the test binary.
//!
//! A test binary installs it with
//! ```
//! #[global_allocator]
//! static ALLOCATOR: testkit::alloc::CountingAllocator = testkit::alloc::CountingAllocator;
//!
//! let (text, counts) = testkit::alloc::measure(|| String::from("counted"));
//! assert_eq!((counts.allocations, counts.allocated_bytes), (1, 7));
//! # drop(text);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system allocator with counters. Counts nothing unless it is the `#[global_allocator]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

/// How much was allocated between two moments, or since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that gave memory: allocations and reallocations.
    pub allocations: u64,
    /// Bytes those calls asked for (a reallocation counts its whole new size).
    pub allocated_bytes: u64,
    /// Calls that gave memory back; reallocations are not among them.
    pub deallocations: u64,
}

impl Sub for Counts {
    type Output = Self;

    /// What happened after `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations - earlier.allocations,
            allocated_bytes: self.allocated_bytes - earlier.allocated_bytes,
            deallocations: self.deallocations - earlier.deallocations,
        }
    }
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);
static DEALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Const-initialised and without a destructor: reading it never allocates.
    static THREAD: Cell<Counts> = const { Cell::new(Counts { allocations: 0, allocated_bytes: 0, deallocations: 0 }) };
}

/// What the calling thread has allocated since it started.
#[must_use]
pub fn thread_counts() -> Counts {
    THREAD.with(Cell::get)
}

/// What all threads together have allocated since the process started.
#[must_use]
pub fn process_counts() -> Counts {
    Counts {
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        allocated_bytes: ALLOCATED_BYTES.load(Ordering::Relaxed),
        deallocations: DEALLOCATIONS.load(Ordering::Relaxed),
    }
}

/// Runs `work` and tells what the calling thread allocated meanwhile; other threads do not disturb it.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    let before = thread_counts();
    let result = work();
    (result, thread_counts() - before)
}

fn count_allocation(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    ALLOCATED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    // A thread that is being torn down may have no counters any more; the process counters still see it.
    THREAD
        .try_with(|cell| {
            let mut counts = cell.get();
            counts.allocations += 1;
            counts.allocated_bytes += bytes as u64;
            cell.set(counts);
        })
        .ok();
}

fn count_deallocation() {
    DEALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    THREAD
        .try_with(|cell| {
            let mut counts = cell.get();
            counts.deallocations += 1;
            cell.set(counts);
        })
        .ok();
}

#[expect(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; every call goes straight to the system allocator"
)]
// SAFETY: each method hands its arguments unchanged to `System`, which keeps GlobalAlloc's contract, and returns its answer
// unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        // SAFETY: the caller's promise about `layout` is the one System asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        count_allocation(new_bytes);
        // SAFETY: `pointer` came from System with `layout`, because every allocation above did.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_deallocation();
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
