//! The log's thread over a real file system; its turns taken by hand where time or a fault matters.

mod bounds;
mod cores;
mod faults;
mod faulty;
mod processes;
mod stepped;
mod way;

pub(super) use stepped::Scratch;
