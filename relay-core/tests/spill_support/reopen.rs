//! A process that starts on what others have left, without faults, and reads all of it.

use std::path::{Path, PathBuf};

use relay_core::spill::{Event, Log, LogConfig, Record, WhenFull, owner_name};

use super::fault_disk::FaultDisk;

/// Rounds of reading and work that no log of these tests needs.
const ROUNDS_MAX: usize = 10_000;

/// Records, and items of any kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) records: u64,
    // Many of the largest number fit in.
    pub(crate) items: u128,
}

/// What a process found, and the process.
#[derive(Debug)]
pub(crate) struct Reopened {
    pub(crate) log: Log<FaultDisk>,
    pub(crate) records: Vec<Record>,
    pub(crate) recovered: Sums,
    pub(crate) lost: Sums,
    pub(crate) lost_bytes: u64,
    /// Bytes of torn tails.
    pub(crate) torn_bytes: u64,
    /// What does not add up, whatever was there.
    pub(crate) problems: Vec<String>,
}

/// Starts a process of the log in `dir` on `disk`, where nobody else lives.
pub(crate) fn reopen(disk: &FaultDisk, dir: &Path, config: &LogConfig, now: u64) -> Reopened {
    let config = LogConfig { bytes_max: 1 << 40, when_full: WhenFull::Refuse, ..config.clone() };
    let log = Log::new(disk.clone(), PathBuf::from(dir), owner_name(now, 0xA0D1), config);
    let (records, problems) = Default::default();
    let (recovered, lost) = Default::default();
    let mut it = Reopened { log, records, recovered, lost, lost_bytes: 0, torn_bytes: 0, problems };
    match it.log.adopt(now) {
        Ok(adoption) if adoption.still_locked == 0 => {}
        adoption => it.problems.push(format!("nobody lives, and adoption says {adoption:?}")),
    }
    it.read_all(now);
    it.add_up();
    it
}

impl Reopened {
    fn read_all(&mut self, now: u64) {
        for _ in 0..ROUNDS_MAX {
            let more = self.log.work(now);
            let read = self.log.read(20_000, now);
            self.hear();
            match read {
                Ok(Some(read)) => self.records.extend(read),
                Ok(None) if !more && !self.log.has_unread() => return,
                Ok(None) => {}
                Err(error) => self.problems.push(format!("reading without faults: {error}")),
            }
        }
        self.problems.push("reading and working never end".to_owned());
    }

    fn hear(&mut self) {
        for event in self.log.take_events() {
            match event {
                Event::Recovered { records, items, unopened } => {
                    self.recovered.records += records;
                    self.recovered.items += u128::from(items) + u128::from(unopened);
                }
                Event::Lost { records, items, unopened, bytes, .. } => {
                    self.lost.records += records;
                    self.lost.items += u128::from(items) + u128::from(unopened);
                    self.lost_bytes += bytes;
                }
                Event::Torn { bytes, .. } => self.torn_bytes += bytes,
                Event::Failed { .. } | Event::LeftAlone { .. } => self.problems.push(format!("{event:?}")),
                Event::Poisoned { .. } | Event::Written { .. } => {}
            }
        }
    }

    fn add_up(&mut self) {
        let items = self.records.iter().map(|record| u128::from(record.items)).sum();
        let read = Sums { records: self.records.len() as u64, items };
        let counts = self.log.counts();
        let counted =
            Sums { records: counts.records, items: u128::from(counts.items) + u128::from(counts.unopened) };
        if counted != read || counts.uncounted_segments != 0 {
            self.problems.push(format!("{read:?} was read, and the log holds {counts:?}"));
        }
        let out = Sums { records: read.records + self.lost.records, items: read.items + self.lost.items };
        // Damage is of so many records, also where nobody knew of them before; of items nothing is said then.
        if self.recovered.items != out.items || self.recovered.records > out.records {
            self.problems
                .push(format!("{:?} was recovered, {read:?} read, {:?} lost", self.recovered, self.lost));
        }
        if !self.records.is_sorted_by_key(|record| record.id) {
            self.problems.push("what is younger came first".to_owned());
        }
    }

    /// Settles all that was read and closes the log: nothing is left on the disk then, and no loss of power brings anything back.
    pub(crate) fn finish(
        mut self,
        disk: &FaultDisk,
        dir: &Path,
        config: &LogConfig,
        now: u64,
    ) -> Vec<String> {
        self.records.iter().for_each(|record| self.log.settle(record.id));
        let closed = self.log.close(now);
        drop(self.log);
        let files = disk.files(dir);
        let mut problems = Vec::new();
        if closed.is_err() || !files.is_empty() {
            problems.push(format!("all is settled, {closed:?}, and {files:?} are there"));
        }
        if config.fsync {
            let again = reopen(&disk.after_power_loss(now), dir, config, now + 1);
            if !again.records.is_empty() {
                let ids = again.records.iter().map(|record| record.id).collect::<Vec<_>>();
                problems.push(format!("settled for good, and came back: {ids:?}"));
            }
        }
        problems
    }
}
