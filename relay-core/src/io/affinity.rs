//! Which CPU a core's thread runs on. Pinning is only done when it cannot hurt: one thread for each CPU that this process
//! may use, and more than one of them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs for `cores` threads, or none when they should not be pinned.
pub(crate) fn one_cpu_per_core(cores: usize) -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    if cores > 1 && cpus.len() == cores { cpus } else { Vec::new() }
}

/// Pins this thread. A failure costs speed at most.
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::debug!(cpu, %error, "cannot pin a core's thread");
    }
}
