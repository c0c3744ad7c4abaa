//! What this process may use and has used: open files, CPU time.
//!
//! Must never speak of another process: whoever measures a peer reads that peer's own figures.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process so far, user and system, all threads, in seconds (`CLOCK_PROCESS_CPUTIME_ID`, clock_getres(2)).
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Raises the soft limit of open files to the hard one and gives it; `None` is no limit. Ten thousand connections do not fit the usual
/// 1,024.
pub(super) fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Where this is refused the old limit holds, and opening too many files says so.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: work shows in the CPU time, and the soft limit is the hard one afterwards.
    #[test]
    fn cpu_time_grows_and_files_are_allowed() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        while cpu_seconds() - before < 0.001 {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        assert!(cpu_seconds() > before);
        assert_eq!(raise_open_files(), getrlimit(Resource::Nofile).maximum);
    }
}
