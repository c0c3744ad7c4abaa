//! The counting allocator, installed.

use testkit::alloc::{CountingAllocator, Counts, measure, process_counts};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Guarantee: allocating, growing and freeing are each counted once, with the bytes asked for.
#[test]
fn counts_what_a_vector_does() {
    let ((), counts) = measure(|| {
        let mut bytes: Vec<u8> = Vec::with_capacity(100);
        bytes.reserve_exact(1_000);
        drop(bytes);
    });
    assert_eq!(counts, Counts { allocations: 2, allocated_bytes: 1_100, deallocations: 1 });
}

/// Guarantee: work that does not allocate counts zero, so "no allocation" can be asserted.
#[test]
fn counts_nothing_where_nothing_is_allocated() {
    let (sum, counts) = measure(|| (0..1_000_u64).sum::<u64>());
    assert_eq!((sum, counts), (499_500, Counts::default()));
}

/// Guarantee: another thread's allocations show in the process's counts and not in this thread's measure.
#[test]
fn threads_are_told_apart() {
    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(0);
    let (answer, answered) = std::sync::mpsc::sync_channel::<()>(1);
    let worker = std::thread::spawn(move || {
        asked.recv().ok();
        drop(std::hint::black_box(vec![1_u8; 1 << 20]));
        answer.send(()).ok();
    });
    // The first use of a channel may allocate a place to wait; it is not what is measured.
    let before = process_counts();
    let ((), here) = measure(|| {
        ask.send(()).ok();
        answered.recv().ok();
    });
    worker.join().ok();
    assert!(here.allocated_bytes < 1 << 20, "{here:?}");
    assert!((process_counts() - before).allocated_bytes >= 1 << 20);
}
