//! The end of a log in this process: what is left is finished so that the next process knows it at once, and given to it.

use std::io;

use super::super::disk::Disk;
use super::Log;

impl<D: Disk> Log<D> {
    /// Writes down what is settled, ends the active segment with a footer, and gives the directory back to whoever adopts it; removes it
    /// if nothing is left. Nothing is appended or read afterwards.
    ///
    /// # Errors
    /// What the file system said first. The directory is given back all the same; the next process counts what this one could not write.
    pub fn close(&mut self, now: u64) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let deleted = self.delete_done(now);
        let finished = self.finish(now);
        self.active = None;
        self.reading = None;
        let removed = self.remove_own_dir();
        self.lock = None;
        self.unadopted.clear();
        self.is_closed = true;
        deleted.and(finished).and(removed)
    }

    fn delete_done(&mut self, now: u64) -> io::Result<()> {
        while let Some(done) = self.done() {
            self.delete(done, now)?;
        }
        Ok(())
    }

    fn finish(&mut self, now: u64) -> io::Result<()> {
        let is_unwritten = self.tables.is_behind || self.tables.newest.is_none();
        if is_unwritten && self.has_facts_beside(None) {
            self.open_active(now)?;
        }
        self.finish_active(now)
    }
}
