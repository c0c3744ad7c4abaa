//! The directory of this process: made with its lock held, so that nobody can adopt it in between, removed when nothing is left in it.

use std::io;
use std::path::Path;

use super::super::disk::Disk;
use super::super::live::Tally;
use super::super::names::{LOCK, UNFINISHED};
use super::Log;
use crate::batch::DropReason;

impl<D: Disk> Log<D> {
    /// Makes the directory of this process if there is none. Once it has its name the lock is kept, also if syncing fails: an unlocked one is
    /// taken for a dead process's.
    pub(super) fn make_own_dir(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            self.lock = Some(self.take_own_dir()?);
            self.is_dir_synced = false;
        }
        if !self.is_dir_synced {
            self.sync_dir(&self.dir)?;
            if let Some(parent) = self.dir.parent() {
                self.sync_dir(parent)?;
            }
            self.is_dir_synced = true;
        }
        Ok(())
    }

    fn take_own_dir(&self) -> io::Result<D::Lock> {
        let lock = match self.disk.try_lock(&self.own_dir().join(LOCK), false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Where it was not removed to the end there is an empty one, or none.
                self.disk.remove_dir(&self.own_dir()).ok();
                let unfinished = self.dir.join(format!("{UNFINISHED}{}", self.owner));
                self.disk.create_dir(&unfinished)?;
                self.lock_and_rename(&unfinished).inspect_err(|_| {
                    // What stays behind all the same is removed by whoever adopts.
                    self.disk.remove(&unfinished.join(LOCK)).ok();
                    self.disk.remove_dir(&unfinished).ok();
                })?
            }
            lock => lock?,
        };
        lock.ok_or_else(|| io::Error::other("another process has the directory of this one"))
    }

    fn lock_and_rename(&self, unfinished: &Path) -> io::Result<Option<D::Lock>> {
        let lock = self.disk.try_lock(&unfinished.join(LOCK), true)?;
        if lock.is_some() {
            self.disk.rename(unfinished, &self.own_dir())?;
        }
        Ok(lock)
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.config.fsync { self.disk.sync_dir(dir) } else { Ok(()) }
    }

    /// Removes the directory of this process if there is nothing in it but its lock.
    pub(super) fn remove_own_dir(&mut self) -> io::Result<()> {
        if self.lock.is_none() || !self.segments.values().all(|segment| segment.is_gone) {
            return Ok(());
        }
        let dir = self.own_dir();
        match self.disk.list(&dir) {
            Ok(entries) if entries.iter().any(|entry| entry.name != LOCK) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.lock = None;
                return Ok(());
            }
            listed => drop(listed?),
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
