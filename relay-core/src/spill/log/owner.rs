//! The directory of this process: made with its lock held, so that nobody can adopt it in between, removed when nothing is left in it.

use std::io;
use std::path::Path;

use super::super::disk::Disk;
use super::super::live::Tally;
use super::super::names::{LOCK, UNFINISHED};
use super::Log;
use crate::batch::DropReason;

impl<D: Disk> Log<D> {
    /// Makes the directory of this process if there is none.
    pub(super) fn make_own_dir(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let unfinished = self.dir.join(format!("{UNFINISHED}{}", self.owner));
        self.disk.create_dir(&unfinished)?;
        let made = self.lock_and_rename(&unfinished);
        if made.is_err() {
            // What stays behind is removed by whoever adopts.
            self.disk.remove(&unfinished.join(LOCK)).ok();
            self.disk.remove_dir(&unfinished).ok();
        }
        made
    }

    fn lock_and_rename(&mut self, unfinished: &Path) -> io::Result<()> {
        let lock = self.disk.try_lock(&unfinished.join(LOCK), true)?;
        let lock = lock.ok_or_else(|| io::Error::other("somebody else holds the lock of a new directory"))?;
        self.disk.rename(unfinished, &self.own_dir())?;
        if self.config.fsync {
            self.disk.sync_dir(&self.dir)?;
            if let Some(parent) = self.dir.parent() {
                self.disk.sync_dir(parent)?;
            }
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Removes the directory of this process if there is nothing in it but its lock.
    pub(super) fn remove_own_dir(&mut self) -> io::Result<()> {
        if self.lock.is_none() || !self.segments.values().all(|segment| segment.is_gone) {
            return Ok(());
        }
        let dir = self.own_dir();
        if self.disk.list(&dir)?.iter().any(|entry| entry.name != LOCK) {
            return Ok(());
        }
        // The lock is held until the directory is gone: who finds the file in between finds it locked, or not there.
        self.disk.remove(&dir.join(LOCK))?;
        let removed = self.disk.remove_dir(&dir);
        self.lock = None;
        removed
    }

    /// The directory has vanished, with all that was in it: what was on disk alone is lost, and a new one is made for the next record.
    pub(super) fn vanished(&mut self) {
        self.failures = self.failures.wrapping_add(1);
        self.lock = None;
        self.active = None;
        self.reading = None;
        let mut lost = Tally::default();
        for segment in self.segments.values_mut().filter(|segment| !segment.is_gone) {
            lost.add(segment.vanish());
        }
        self.segments.retain(|_, segment| !segment.held.is_empty());
        self.tables = super::Tables::default();
        self.lost(DropReason::Corrupt, lost, 0);
        self.failed("keep the directory of the log", &io::ErrorKind::NotFound.into());
    }
}
