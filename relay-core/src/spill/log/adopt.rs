//! Takes over what dead processes have left: their segments are renamed into the directory of this process. Only headers and footers
//! are read; what has none is counted later.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::super::disk::{Disk, DiskFile, Entry};
use super::super::event::{Adoption, Event};
use super::super::live::{Known, Live};
use super::super::names::{LOCK, UNFINISHED, is_owner_name, is_segment_name, owner_unix_ms};
use super::super::reader::read_head;
use super::super::segment::{HEADER_BYTES, SegmentError, SegmentHead};
use super::super::settled::SettledTable;
use super::super::summary::{Summary, find_footer};
use super::{Log, Unadopted};
use crate::limits::{SPILL_READ_FAILURES_MAX, SPILL_UNFINISHED_AGE};

/// A segment of a dead process that is to be taken over.
struct Found {
    name: String,
    head: SegmentHead,
    bytes: u64,
    footer: Option<(Summary, SettledTable)>,
}

impl<D: Disk> Log<D> {
    /// Takes over the segments of all directories beside this process's own whose processes are dead. What of a segment with a footer is
    /// not settled is told at once if no segment is without one; of all others by [`Log::work`] or [`Log::read`] when they have counted
    /// them.
    ///
    /// # Errors
    /// What the file system says of the log's directory. Where one of a dead process cannot be taken over, that is an
    /// [`Event::Failed`], and the next call tries again.
    pub fn adopt(&mut self, now: u64) -> io::Result<Adoption> {
        let mut adoption = Adoption::default();
        if self.is_closed {
            return Ok(adoption);
        }
        let entries = match self.disk.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(adoption),
            entries => entries?,
        };
        self.unadopted.retain(|dir, _| entries.iter().any(|entry| dir.ends_with(&entry.name)));
        let mut tables = Vec::new();
        for Entry { name, .. } in entries.into_iter().filter(|entry| entry.is_dir) {
            if name == self.owner {
                continue;
            }
            if is_owner_name(&name) {
                let dir = self.dir.join(&name);
                self.adopt_or_keep(dir, &mut adoption, &mut tables);
            } else if let Some(owner) = name.strip_prefix(UNFINISHED) {
                let age = owner_unix_ms(owner).map(|made| now.saturating_sub(made));
                if age.is_some_and(|age| age >= super::super::millis(SPILL_UNFINISHED_AGE)) {
                    self.remove_unfinished(&self.dir.join(&name)).ok();
                }
            }
        }
        if self.unadopted.is_empty() {
            self.elsewhere.clear();
        }
        // Any of them may speak of any segment.
        tables.into_iter().for_each(|table| self.merge(table));
        if self.find(|segment| segment.known == Known::Nothing).is_none() {
            let summed = |segment: &&Live| segment.known == Known::Sums && segment.settled.is_empty();
            let summed: Vec<u64> =
                self.segments.values().filter(summed).map(|segment| segment.head.id).collect();
            summed.into_iter().for_each(|id| self.counted(id, None));
        }
        Ok(adoption)
    }

    /// Takes over `dir`. If that fails, its lock is kept until it succeeds: what one segment says of others must not be parted from them.
    fn adopt_or_keep(&mut self, dir: PathBuf, adoption: &mut Adoption, tables: &mut Vec<SettledTable>) {
        let mut dead = self.unadopted.remove(&dir).unwrap_or(Unadopted { lock: None, failures: 0 });
        match self.adopt_dir(&dir, &mut dead, adoption, tables) {
            Ok(()) => {}
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                adoption.still_locked += 1;
                self.failed("take over the directory of a dead process", &error);
                dead.failures += 1;
                self.unadopted.insert(dir, dead);
            }
        }
    }

    fn adopt_dir(
        &mut self,
        dir: &Path,
        dead: &mut Unadopted<D::Lock>,
        adoption: &mut Adoption,
        tables: &mut Vec<SettledTable>,
    ) -> io::Result<()> {
        let lock = dir.join(LOCK);
        if dead.lock.is_none() {
            dead.lock = match self.disk.try_lock(&lock, false) {
                // Whoever has adopted it before may have ended between removing the lock and the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.try_lock(&lock, true)?,
                held => held?,
            };
        }
        if dead.lock.is_none() {
            adoption.still_locked += 1;
            return Ok(());
        }
        let (found, unread) = self.look_into(dir)?;
        // What cannot be opened holds up the others for some time only.
        let unread = match unread {
            Some(error) if dead.failures + 1 < SPILL_READ_FAILURES_MAX => return Err(error),
            unread => unread,
        };
        if !found.is_empty() {
            self.make_own_dir()?;
            // The newest first, which says the most of all others.
            let renamed: io::Result<()> = found.into_iter().rev().try_for_each(|found| {
                self.disk.rename(&dir.join(&found.name), &self.path_of(&found.name))?;
                adoption.segments += 1;
                adoption.bytes += found.bytes;
                tables.extend(self.take_over(found));
                Ok(())
            });
            self.sync_dir(&self.own_dir())?;
            renamed?;
        }
        // Also what its process has removed last must not come back.
        self.sync_dir(dir)?;
        if self.disk.list(dir)?.iter().all(|entry| entry.name == LOCK) {
            self.disk.remove(&lock)?;
            self.disk.remove_dir(dir)?;
        }
        unread.map_or(Ok(()), Err)
    }

    /// The segments in `dir` that this version reads, and why one cannot be looked into for now.
    fn look_into(&mut self, dir: &Path) -> io::Result<(Vec<Found>, Option<io::Error>)> {
        let (mut found, mut ids, mut unread) = (Vec::<Found>::new(), BTreeSet::new(), None);
        for Entry { name, is_dir, .. } in self.disk.list(dir)?.into_iter().filter(|entry| entry.name != LOCK)
        {
            let path = dir.join(&name);
            if is_dir || !is_segment_name(&name) {
                self.leave_alone(path, "it has not the name of a segment".to_owned());
                continue;
            }
            let (file, head) = match self.open_segment(&path, &name) {
                Ok(opened) => opened,
                // Its name alone is not enough to touch it: it may be of a newer version.
                Err(SegmentError::Io(error)) => {
                    unread = Some(error);
                    continue;
                }
                Err(error) => {
                    self.leave_alone(path, error.to_string());
                    continue;
                }
            };
            if self.segments.contains_key(&head.id) || !ids.insert(head.id) {
                self.leave_alone(path, "another segment has its number".to_owned());
                continue;
            }
            match file.bytes() {
                Ok(bytes) => {
                    let footer = find_footer(&file, &head, bytes).unwrap_or_default();
                    found.push(Found { name, head, bytes, footer });
                }
                Err(error) => unread = Some(error),
            }
        }
        found.sort_by_key(|found| found.head.id);
        Ok((found, unread))
    }

    fn open_segment(&self, path: &Path, name: &str) -> Result<(D::File, SegmentHead), SegmentError> {
        let file = self.disk.open(path)?;
        let (head, _) = read_head(&file, name)?;
        Ok((file, head))
    }

    /// The segment is this process's now; what its footer says of what is settled.
    fn take_over(&mut self, found: Found) -> Option<SettledTable> {
        let id = found.head.id;
        let mut segment = Live::new(found.head, found.name, found.bytes, Known::Nothing);
        let table = found.footer.map(|(summary, table)| {
            segment.known = Known::Sums;
            segment.summary = summary;
            table
        });
        // Shorter than a header: nothing was ever stored in it.
        segment.end = segment.end.max(HEADER_BYTES as u64);
        if let Some(settled) = self.elsewhere.remove(&id) {
            segment.settled = settled;
        }
        self.segments.insert(id, segment);
        table
    }

    fn remove_unfinished(&self, dir: &Path) -> io::Result<()> {
        let lock = dir.join(LOCK);
        match self.disk.try_lock(&lock, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.remove_dir(dir),
            Ok(Some(held)) => {
                self.disk.remove(&lock)?;
                let removed = self.disk.remove_dir(dir);
                drop(held);
                removed
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells once of a file that is not touched.
    fn leave_alone(&mut self, path: PathBuf, why: String) {
        if self.left_alone.insert(path.clone()) {
            self.events.push(Event::LeftAlone { path, why });
        }
    }
}
