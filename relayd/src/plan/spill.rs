//! The disk behind an upstream. Must never touch it.

use relay_core::config::SpillConfig;

use crate::config::Spill;

/// What relay-core is told of `spill`.
pub(super) fn config(spill: &Spill) -> SpillConfig {
    let storage = &spill.storage;
    let mut config = SpillConfig::new(&storage.directory);
    config.fsync = storage.fsync;
    config.acknowledge = spill.acknowledge;
    config.spill_after = spill.after;
    config.bytes_max = storage.bytes_max;
    config.age_max = storage.age_max;
    config.when_full = storage.when_full;
    config.free_bytes_min = storage.free_bytes_min;
    config
}
