//! The disk behind one upstream: the operating system's file system, and the thread that carries the log out.
//!
//! Nothing here decides what is stored or sent; only [`crate::spill`] knows what the files look like.

mod backoff;
mod books;
mod custody;
mod directory;
mod os_disk;
mod reading;
mod spool;
mod storing;
mod sync_times;
#[cfg(test)]
mod tests;
mod words;
mod worker;

pub use os_disk::{OsDisk, OsFile, OsLock};
pub(crate) use spool::Spool;
