//! Appends: all records of a call or none, one sync for all in a segment. What fails poisons the segment: it is never synced
//! again and believed (after a failed sync the kernel may have dropped what it could not write), and its records are written
//! once more, to a new one.

use std::io;

use super::super::disk::{Disk, DiskFile, write_all};
use super::super::event::{AppendError, Event, WhenFull};
use super::super::live::{Known, Live};
use super::super::names::segment_name;
use super::super::record::{HEAD_BYTES, Head, NewRecord, RecordId, parts_table};
use super::super::segment::{HEADER_BYTES, SegmentHead};
use super::{Active, FreeCheck, Log};
use crate::batch::DropReason;
use crate::limits::{SPILL_FREE_CHECK_BYTES, SPILL_FREE_CHECK_INTERVAL};

/// A record as it is written; its sequence is that of where it comes to stand.
struct Ready<'a> {
    head: Head,
    table: Vec<u8>,
    record: &'a NewRecord,
}

impl<D: Disk> Log<D> {
    /// Stores `records`, all or none, synced once for all where they fit into one segment. Their maker has them in memory until it
    /// settles or releases them.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of it is replayed then by this process. After a crash right behind it, it may be.
    pub fn append(&mut self, records: &[NewRecord], now: u64) -> Result<Vec<RecordId>, AppendError> {
        if self.is_closed {
            return Err(AppendError::Io(io::Error::other("the log is closed")));
        }
        let mut ready = Vec::with_capacity(records.len());
        for record in records {
            let table = parts_table(&record.parts);
            let head = Head::of_record(record, &table, 0).ok_or(AppendError::TooLarge)?;
            if head.bytes().saturating_add(HEADER_BYTES as u64) > self.config.bytes_max {
                return Err(AppendError::TooLarge);
            }
            ready.push(Ready { head, table, record });
        }
        self.make_room(bytes_of(&ready), now)?;
        let mut ids = Vec::with_capacity(records.len());
        let mut rest = ready.as_mut_slice();
        while !rest.is_empty() {
            if self.active_has_room_for(rest.first().map_or(0, |first| first.head.bytes())) == Some(false) {
                // A footer that fails leaves the segment as a crash would, and the next append has another one.
                self.finish_active(now).ok();
            }
            let (run, more) = rest.split_at_mut(self.run_of(rest));
            match self.append_run(run, more, now) {
                Ok(mut written) => ids.append(&mut written),
                Err(error) => {
                    // All or none: what an earlier segment holds of this call is done with.
                    ids.into_iter().for_each(|id| self.settle(id));
                    return Err(error.into());
                }
            }
            rest = more;
        }
        Ok(ids)
    }

    /// Whether the active segment, if there is one, takes `bytes` more. An empty one takes any record.
    pub(super) fn active_has_room_for(&self, bytes: u64) -> Option<bool> {
        let active = self.active.as_ref()?;
        let end = self.segments.get(&active.id)?.end;
        Some(active.next_sequence == 0 || end.saturating_add(bytes) <= self.config.segment_bytes())
    }

    /// How many of `rest` the active segment takes, or a new one; at least one.
    fn run_of(&self, rest: &[Ready<'_>]) -> usize {
        let active = self.active.as_ref().and_then(|active| self.segments.get(&active.id));
        let mut end = active.map_or(HEADER_BYTES as u64, |segment| segment.end);
        let fitting = rest.iter().take_while(|ready| {
            end = end.saturating_add(ready.head.bytes());
            end <= self.config.segment_bytes()
        });
        fitting.count().max(1)
    }

    /// Writes what goes into one segment; once more into a new one if the segment, or the directory, has failed.
    fn append_run(
        &mut self,
        run: &mut [Ready<'_>],
        more: &[Ready<'_>],
        now: u64,
    ) -> io::Result<Vec<RecordId>> {
        let failures = self.failures;
        match self.write_run(run, now) {
            Err(error) if self.failures != failures => {
                // What the failed segment may hold of them takes its room as well.
                let room = self.make_room(bytes_of(run).saturating_add(bytes_of(more)), now);
                if room.is_ok() { self.write_run(run, now) } else { Err(error) }
            }
            written => written,
        }
    }

    fn write_run(&mut self, run: &mut [Ready<'_>], now: u64) -> io::Result<Vec<RecordId>> {
        let bytes = bytes_of(run);
        self.check_free(bytes, now)?;
        self.open_active(now)?;
        let Some(active) = &mut self.active else { return Err(no_active()) };
        let Some(segment) = self.segments.get_mut(&active.id) else { return Err(no_active()) };
        let mut heads: Vec<[u8; HEAD_BYTES]> = Vec::with_capacity(run.len());
        let mut offset = segment.end;
        for (ready, sequence) in run.iter_mut().zip(active.next_sequence..) {
            ready.head.sequence = sequence;
            heads.push(ready.head.encode(segment.head.nonce, offset));
            offset = offset.saturating_add(ready.head.bytes());
        }
        let mut pieces: Vec<&[u8]> = Vec::new();
        for (ready, head) in run.iter().zip(&heads) {
            pieces.extend([&head[..], &ready.table]);
            pieces.extend(ready.record.payload.pieces().iter().map(|piece| &piece[..]));
        }
        let (id, start) = (active.id, segment.end);
        let written = write_all(&active.file, start, &pieces);
        if let Err(error) = written.and_then(|()| self.sync_active()) {
            self.poison(run.len(), &error);
            return Err(error);
        }
        self.grow_active(bytes, run.len());
        if let Some(active) = &mut self.active {
            active.appended_unix_ms = now;
        }
        if let Some(segment) = self.segments.get_mut(&id) {
            let mut offset = start;
            for ready in run.iter() {
                segment.add(&ready.head, offset);
                offset += ready.head.bytes();
            }
        }
        self.events.push(Event::Written { records: run.len() as u64, bytes, sync_nanos: 0 });
        Ok(run.iter().map(|ready| RecordId { segment: id, sequence: ready.head.sequence }).collect())
    }

    /// Makes the active segment if there is none.
    pub(super) fn open_active(&mut self, now: u64) -> io::Result<()> {
        if self.active.is_some() {
            return Ok(());
        }
        self.make_own_dir()?;
        let head = self.new_head(now);
        let name = segment_name(&head);
        let path = self.path_of(&name);
        let file = match self.disk.create(&path) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.vanished();
                }
                return Err(error);
            }
        };
        if let Err(error) = write_all(&file, 0, &[&head.encode()]) {
            drop(file);
            self.disk.remove(&path).ok();
            return Err(error);
        }
        self.segments.insert(head.id, Live::new(head, name, HEADER_BYTES as u64, Known::All));
        self.active =
            Some(Active { id: head.id, file, next_sequence: 0, is_new: true, appended_unix_ms: now });
        Ok(())
    }

    /// The head of a segment whose number nobody has.
    fn new_head(&mut self, now: u64) -> SegmentHead {
        // A later one sorts behind it, also within the same millisecond and when the clock was set back.
        self.newest_unix_ms = now.max(self.newest_unix_ms.saturating_add(1));
        loop {
            self.created = self.created.wrapping_add(1);
            // The owner's name is random; sums of inputs that differ in so few bits differ.
            let seed = crc32c::crc32c_append(crc32c::crc32c(self.owner.as_bytes()), &now.to_le_bytes());
            let nonce = crc32c::crc32c_append(seed, &self.created.to_le_bytes());
            let head = SegmentHead::new(self.newest_unix_ms, nonce);
            if !self.segments.contains_key(&head.id) {
                return head;
            }
        }
    }

    pub(super) fn sync_active(&mut self) -> io::Result<()> {
        if !self.config.fsync {
            return Ok(());
        }
        let dir = self.own_dir();
        let Some(active) = &mut self.active else { return Err(no_active()) };
        while let Err(error) = active.file.sync_data() {
            // Interrupted is not failed.
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        if std::mem::take(&mut active.is_new) {
            self.disk.sync_dir(&dir)?;
        }
        Ok(())
    }

    /// `records` of `bytes` are written and synced.
    pub(super) fn grow_active(&mut self, bytes: u64, records: usize) {
        let Some(active) = &mut self.active else { return };
        active.next_sequence =
            active.next_sequence.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        self.free.written = self.free.written.saturating_add(bytes);
        if let Some(segment) = self.segments.get_mut(&active.id) {
            segment.end += bytes;
            segment.file_bytes = segment.end;
        }
    }

    /// A write or sync has failed while `records` were appended: nothing more is appended to the active segment.
    pub(super) fn poison(&mut self, records: usize, error: &io::Error) {
        let Some(active) = self.active.take() else { return };
        self.failures = self.failures.wrapping_add(1);
        self.events.push(Event::Poisoned { segment: active.id, error: error.to_string() });
        let Some(segment) = self.segments.get_mut(&active.id) else { return };
        segment.file_bytes = active.file.bytes().unwrap_or(segment.end).max(segment.end);
        // They may be there all the same, and are written elsewhere, or still in memory: after a crash they are not to be sent again.
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        segment.settled.insert(active.next_sequence..active.next_sequence.saturating_add(records));
        self.tables.is_behind = true;
        if segment.is_done() && self.tables.newest != Some(active.id) {
            let name = segment.name.clone();
            let path = self.path_of(&name);
            drop(active.file);
            if self.disk.remove(&path).is_ok() {
                self.segments.remove(&active.id);
                // Best effort: what would come back with a loss of power was never acknowledged.
                self.sync_dir(&self.own_dir()).ok();
            }
        }
    }

    /// Makes room for `bytes` within the bound.
    fn make_room(&mut self, bytes: u64, now: u64) -> Result<(), AppendError> {
        let bytes = bytes.saturating_add(HEADER_BYTES as u64);
        if bytes > self.config.bytes_max {
            // Dropping all that there is would not make room for it.
            return Err(AppendError::Full);
        }
        while self.counts().bytes.saturating_add(bytes) > self.config.bytes_max {
            if let Some(done) = self.done() {
                self.delete(done, now)?;
                continue;
            }
            let oldest = match self.config.when_full {
                WhenFull::Refuse => None,
                WhenFull::DropOldest => self.find(|segment| segment.is_unread() && segment.held.is_empty()),
            };
            self.give_up(oldest.ok_or(AppendError::Full)?, DropReason::Evicted, now)?;
        }
        Ok(())
    }

    /// Asks for the free space at a new segment, and from time to time.
    fn check_free(&mut self, bytes: u64, now: u64) -> io::Result<()> {
        let interval = super::super::millis(SPILL_FREE_CHECK_INTERVAL);
        let is_fresh = self.free.unix_ms.is_some_and(|asked| now >= asked && now - asked < interval);
        if self.active.is_some() && is_fresh && self.free.written < SPILL_FREE_CHECK_BYTES {
            return Ok(());
        }
        self.make_own_dir()?;
        let free = match self.disk.free_bytes(&self.own_dir()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.vanished();
                return Err(error);
            }
            asked => asked?,
        };
        if free < self.config.free_bytes_min.saturating_add(bytes) {
            let words =
                format!("{free} bytes are free, and {} are left to others", self.config.free_bytes_min);
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        self.free = FreeCheck { unix_ms: Some(now), written: 0 };
        Ok(())
    }
}

fn bytes_of(ready: &[Ready<'_>]) -> u64 {
    ready.iter().map(|ready| ready.head.bytes()).sum()
}

fn no_active() -> io::Error {
    io::Error::other("there is no segment to append to")
}
