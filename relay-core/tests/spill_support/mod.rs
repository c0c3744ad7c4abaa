//! What the tests of the log on disk share: a disk that fails and forgets, and logs whose every byte is known.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::cast_possible_truncation, reason = "sizes and seeds here are small and our own")]
#![allow(clippy::single_range_in_vec_init, reason = "a table may have one range")]

pub(crate) mod audit;
pub(crate) mod fault_disk;
pub(crate) mod file_tree;
pub(crate) mod life;
pub(crate) mod payloads;
pub(crate) mod reopen;
pub(crate) mod seen;
pub(crate) mod small;
pub(crate) mod world;
