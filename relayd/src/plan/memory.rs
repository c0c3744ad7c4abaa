//! How much a relay may hold, and why. Must never be more than a control group leaves it: the kernel would end the process.

use std::fmt;

use relay_core::limits::{HELD_BYTES_BURST_MAX, HELD_BYTES_MAX};

use crate::config::Config;

/// A bound on held bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) bytes: usize,
    /// What one very large request may exceed it to.
    pub(crate) burst_bytes: usize,
    why: String,
}

impl Bound {
    /// What `memory_limiter` says; else the default, of which a small control group takes away.
    pub(super) fn of(config: &Config) -> Self {
        if let Some(bytes) = config.memory_limit_bytes {
            return Self { bytes, burst_bytes: bytes, why: "memory_limiter".to_owned() };
        }
        let total = config.memory_total_bytes.and_then(|total| usize::try_from(total).ok());
        // The other half is for buffers of connections, threads and what the allocator keeps.
        let share = total.map_or(usize::MAX, |total| total / 2);
        let why = match total {
            Some(total) if share < HELD_BYTES_BURST_MAX => {
                format!("half of the {} MiB that this process may use; no memory_limiter", mib(total))
            }
            _ => "the default; no memory_limiter".to_owned(),
        };
        Self { bytes: HELD_BYTES_MAX.min(share), burst_bytes: HELD_BYTES_BURST_MAX.min(share), why }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", mib(self.bytes))?;
        if self.burst_bytes > self.bytes {
            write!(f, ", with one very large request {} MiB", mib(self.burst_bytes))?;
        }
        write!(f, " ({})", self.why)
    }
}

fn mib(bytes: usize) -> usize {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(limit: Option<usize>, total_mib: Option<u64>) -> String {
        let config = Config {
            memory_limit_bytes: limit,
            memory_total_bytes: total_mib.map(|mib| mib << 20),
            ..Config::embedded_default(None)
        };
        Bound::of(&config).to_string()
    }

    /// Guarantee: a limiter is taken as it is; the default never exceeds half of what the process may use, and says so.
    #[test]
    fn the_default_fits_into_a_small_control_group() {
        assert_eq!(said(Some(7 << 20), Some(32)), "7 MiB (memory_limiter)");
        let whole = "20 MiB, with one very large request 96 MiB (the default; no memory_limiter)";
        assert_eq!((said(None, None).as_str(), said(None, Some(192)).as_str()), (whole, whole));
        let half = |mib| format!("half of the {mib} MiB that this process may use; no memory_limiter");
        assert_eq!(
            said(None, Some(64)),
            format!("20 MiB, with one very large request 32 MiB ({})", half(64))
        );
        assert_eq!(said(None, Some(24)), format!("12 MiB ({})", half(24)));
    }
}
