//! A world for the log: processes that append, settle, read, die and adopt from each other on a disk that fails, and the truth about
//! every record, kept by a list that shares nothing with the log.
//!
//! What must hold is checked at every step ([`World::check`]), and on what a kill or a loss of power at this very moment would leave
//! ([`super::audit`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use relay_core::batch::DropReason;
use relay_core::spill::{AppendError, Disk as _, Event, Log, LogConfig, RecordId, WhenFull, owner_name};
use testkit::generate::Xorshift;

use super::fault_disk::{FaultDisk, Rates};
use super::payloads::{key_of, record};

pub(crate) const DIR: &str = "/var/spool/otlp_traces";

/// When every world begins, in milliseconds since 1970.
const BEGINNING: u64 = 1_800_000_000_000;

/// What is known of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It was refused before anything of it was written.
    Refused,
    /// Its writing failed: nobody was told that it is safe, and it may be there.
    Unsaid,
    /// It is safe.
    Safe,
    /// It is settled, which a crash may undo.
    Settled,
    /// It is settled, and that is durable.
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) bytes: usize,
    pub(crate) items: u64,
    pub(crate) is_unopened: bool,
    pub(crate) fate: Fate,
    /// A part of the disk failed while it was written: a second copy may be there.
    pub(crate) may_be_twice: bool,
}

/// What one process has in its hands.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) disk: FaultDisk,
    pub(crate) log: Log<FaultDisk>,
    pub(crate) name: String,
    /// In memory.
    pub(crate) held: BTreeMap<RecordId, u64>,
    /// Released to the disk.
    pub(crate) released: BTreeMap<RecordId, u64>,
    /// All that it has settled.
    settled: BTreeSet<u64>,
    /// What it has written a second time, or may have; when it is closed it has said which copy counts.
    rewritten: BTreeSet<u64>,
    // Records that came under the log's care alone, and that left it, and the items of both. Of what was damaged more records may be told
    // than were known of; their items are not.
    records: (u64, u64),
    lost_records: u64,
    items: (u64, u64),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: Xorshift,
    pub(crate) now: u64,
    pub(crate) disk: FaultDisk,
    pub(crate) config: LogConfig,
    /// The faults of this world, while there are any.
    pub(crate) rates: Rates,
    /// Nothing of the disk fails at the moment.
    pub(crate) is_healthy: bool,
    // What could not be read for too long was given up.
    gave_up: bool,
    pub(crate) truths: Vec<Truth>,
    pub(crate) processes: Vec<Process>,
    /// What has happened, for whoever looks at a seed.
    pub(crate) story: Vec<String>,
    pub(crate) violations: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Xorshift::new(seed);
        let disk = FaultDisk::new(seed);
        disk.create_dir(Path::new(DIR).parent().unwrap()).unwrap();
        disk.settle();
        let config = LogConfig {
            fsync: random.below(5) > 0,
            bytes_max: *random.pick(&[1 << 40, 1 << 40, 60_000, 200_000]),
            age_max: None,
            when_full: *random.pick(&[WhenFull::Refuse, WhenFull::Refuse, WhenFull::DropOldest]),
            free_bytes_min: 0,
            segment_bytes_max: *random.pick(&[4_000, 10_000, 40_000]),
        };
        let mut rates = Rates { short_write: 4, short_read: 4, interrupted: 10, ..Rates::default() };
        match random.below(4) {
            0 => rates = Rates::default(),
            1 => {}
            _ => {
                rates.write_eio = *random.pick(&[0, 8, 40]);
                rates.read_eio = *random.pick(&[0, 8, 40]);
                rates.name_eio = *random.pick(&[0, 10, 60]);
                // Without fsync nothing is promised where a sync fails.
                rates.sync_eio = if config.fsync { *random.pick(&[0, 4, 20]) } else { 0 };
            }
        }
        Self::with(random, disk, config, rates)
    }

    /// One whose disk has no faults by itself, to be told step by step.
    pub(crate) fn scripted(seed: u64) -> Self {
        let disk = FaultDisk::new(seed);
        disk.create_dir(Path::new(DIR).parent().unwrap()).unwrap();
        disk.settle();
        let config = LogConfig { free_bytes_min: 0, segment_bytes_max: 4_000, ..LogConfig::default() };
        Self::with(Xorshift::new(seed), disk, config, Rates::default())
    }

    fn with(random: Xorshift, disk: FaultDisk, config: LogConfig, rates: Rates) -> Self {
        let now = BEGINNING;
        let (truths, processes, story, violations) = Default::default();
        let is_healthy = true;
        let mut world = Self {
            random,
            now,
            disk,
            config,
            rates,
            is_healthy,
            gave_up: false,
            truths,
            processes,
            story,
            violations,
        };
        world.tell(format!("{:?} {:?}", world.config, world.rates));
        world
    }

    /// Whether the log may drop what is safe: it was told to keep so much only, or the disk did not give it back.
    pub(crate) fn may_drop(&self) -> bool {
        self.gave_up || self.config.when_full == WhenFull::DropOldest && self.config.bytes_max < 1 << 40
    }

    pub(crate) fn step(&mut self) {
        self.now += *self.random.pick(&[0, 1, 40, 1_500, 20_000]);
        if self.processes.is_empty() {
            return self.start();
        }
        let who = self.random.below(self.processes.len());
        match self.random.below(100) {
            0..32 => self.append(who),
            32..47 => self.settle(who),
            47..62 => self.release(who),
            62..75 => self.read(who),
            75..84 => self.work(who),
            84..87 => self.close(who),
            87..89 => self.kill(who),
            89..90 => self.die_soon(),
            90..93 if self.processes.len() < 3 => self.start(),
            90..96 => self.adopt(who),
            96..98 => self.lose_power(),
            _ => self.change_faults(),
        }
        self.bury();
    }

    /// A process dies in one of the next calls that change the disk.
    fn die_soon(&mut self) {
        let after = self.random.below(12) as u64;
        self.disk.die_after(after);
        self.tell(format!("somebody will die after {after} calls"));
    }

    /// Forgets processes that have died in a call: nobody has what they had.
    pub(crate) fn bury(&mut self) {
        let (processes, story, now) = (&mut self.processes, &mut self.story, self.now);
        processes.retain(|process| {
            let is_living = process.disk.is_living();
            if !is_living {
                story.push(format!("{} {} is dead", now - BEGINNING, process.name));
            }
            is_living
        });
    }

    pub(crate) fn start(&mut self) {
        let disk = self.disk.another_process();
        let name = owner_name(self.now, self.random.next_u64() as u32);
        let log = Log::new(disk.clone(), PathBuf::from(DIR), name.clone(), self.config.clone());
        self.tell(format!("{name} starts"));
        let (held, released, settled, rewritten) = Default::default();
        let process = Process {
            disk,
            log,
            name,
            held,
            released,
            settled,
            rewritten,
            records: (0, 0),
            lost_records: 0,
            items: (0, 0),
        };
        self.processes.push(process);
        self.adopt(self.processes.len() - 1);
    }

    pub(crate) fn adopt(&mut self, who: usize) {
        let now = self.now;
        let adoption = self.processes[who].log.adopt(now);
        self.tell(format!("{} adopts: {adoption:?}", self.processes[who].name));
        self.hear(who);
    }

    pub(crate) fn append(&mut self, who: usize) {
        let first = self.truths.len() as u64;
        let count = 1 + self.random.below(4) as u64;
        let sizes: Vec<usize> = (0..count).map(|_| 16 + self.random.below(3_000)).collect();
        let records: Vec<_> = (first..).zip(&sizes).map(|(key, bytes)| record(key, *bytes)).collect();
        let now = self.now;
        let appended = self.processes[who].log.append(&records, now);
        let fate = match &appended {
            Ok(_) => Fate::Safe,
            Err(AppendError::Full | AppendError::TooLarge) => Fate::Refused,
            Err(AppendError::NoSpace(_) | AppendError::Io(_)) => Fate::Unsaid,
        };
        self.truths.extend(records.iter().zip(&sizes).map(|(record, bytes)| Truth {
            bytes: *bytes,
            items: record.items,
            is_unopened: record.encoding.is_some(),
            fate,
            may_be_twice: false,
        }));
        self.tell(format!("{} appends {first} and {count} in all: {appended:?}", self.processes[who].name));
        if self.is_healthy && fate == Fate::Unsaid && self.processes[who].disk.is_living() {
            self.violated(format!("the disk is sound, and {appended:?}"));
        }
        if self.hear(who) || fate == Fate::Unsaid {
            self.truths[first as usize..].iter_mut().for_each(|truth| truth.may_be_twice = true);
            self.processes[who].rewritten.extend(first..first + count);
        }
        let Ok(ids) = appended else { return };
        let bytes = self.processes[who].log.counts().bytes;
        // What is settled is written down also beyond the bound.
        if bytes > self.config.bytes_max + 4_096 {
            self.violated(format!("{bytes} bytes after an append, more than {}", self.config.bytes_max));
        }
        if ids.len() as u64 != count {
            self.violated(format!("{} ids for {count} records", ids.len()));
        }
        for (key, id) in (first..).zip(ids) {
            let process = &mut self.processes[who];
            if process.released.contains_key(&id) || process.held.insert(id, key).is_some() {
                self.violated(format!("{id:?} is given twice"));
            }
        }
    }

    pub(crate) fn settle(&mut self, who: usize) {
        for _ in 0..1 + self.random.below(5) {
            let Some((id, key)) = self.some_held(who) else { return };
            self.settle_one(who, id, key);
        }
        self.hear(who);
    }

    fn settle_one(&mut self, who: usize, id: RecordId, key: u64) {
        let process = &mut self.processes[who];
        process.held.remove(&id);
        process.log.settle(id);
        process.settled.insert(key);
        let truth = &mut self.truths[key as usize];
        truth.fate = if truth.may_be_twice { Fate::Unsaid } else { Fate::Settled };
        let line = format!("{} settles {key}", process.name);
        self.tell(line);
    }

    pub(crate) fn release(&mut self, who: usize) {
        for _ in 0..1 + self.random.below(5) {
            let Some((id, key)) = self.some_held(who) else { return };
            let process = &mut self.processes[who];
            process.held.remove(&id);
            process.released.insert(id, key);
            process.log.release(id);
            process.records.0 += 1;
            process.items.0 += self.truths[key as usize].items;
            let line = format!("{} releases {key}", process.name);
            self.tell(line);
        }
        self.hear(who);
    }

    fn some_held(&mut self, who: usize) -> Option<(RecordId, u64)> {
        let held = &self.processes[who].held;
        let index = self.random.below(held.len());
        held.iter().nth(index).map(|(id, key)| (*id, *key))
    }

    pub(crate) fn read(&mut self, who: usize) {
        let bytes_max = *self.random.pick(&[1, 2_000, 10_000, 1 << 20]);
        let now = self.now;
        let read = self.processes[who].log.read(bytes_max, now);
        // What was found on the way is in the books before what came of it.
        self.hear(who);
        let name = self.processes[who].name.clone();
        let records = match read {
            Ok(Some(records)) => records,
            Ok(None) => return,
            Err(error) => {
                return self.tell(format!("{name} reads: {error}"));
            }
        };
        self.tell(format!("{name} reads {:?}", records.iter().map(|record| record.id).collect::<Vec<_>>()));
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        if bytes > bytes_max && records.len() > 1 {
            self.violated(format!("{name} read {} records of {bytes} bytes for {bytes_max}", records.len()));
        }
        if !records.is_sorted_by_key(|record| record.id) {
            self.violated(format!("{name} read what is younger first"));
        }
        for record in records {
            match key_of(&record) {
                Some(key) => self.take(who, record.id, key),
                None => self.violated(format!("{name} read what nobody wrote: {:?}", record.id)),
            }
        }
    }

    /// A process was given this record: nobody else may have it.
    fn take(&mut self, who: usize, id: RecordId, key: u64) {
        let Some(truth) = self.truths.get(key as usize).cloned() else {
            return self.violated(format!("{key} was never written"));
        };
        let is_elsewhere = self.processes.iter().enumerate().any(|(other, process)| {
            let has = |records: &BTreeMap<RecordId, u64>| records.values().any(|held| *held == key);
            has(&process.held) || (other != who && has(&process.released))
        });
        let process = &mut self.processes[who];
        let released = process.released.remove(&id);
        process.records.1 += 1;
        process.items.1 += truth.items;
        let is_held = process.held.insert(id, key).is_some();
        let was_settled = process.settled.contains(&key);
        let name = process.name.clone();
        if is_held || released.is_some_and(|released| released != key) {
            self.violated(format!("{name} read {key} as {id:?}, which is another or in memory"));
        }
        if is_elsewhere && !truth.may_be_twice {
            self.violated(format!("{name} read {key}, which a living process has"));
        }
        if was_settled && !truth.may_be_twice {
            self.violated(format!("{name} read {key}, which it has settled"));
        }
        if matches!(truth.fate, Fate::Refused | Fate::Gone) {
            self.violated(format!("{name} read {key}, which is {:?}", truth.fate));
        }
    }

    pub(crate) fn work(&mut self, who: usize) {
        let now = self.now;
        for _ in 0..1 + self.random.below(8) {
            let process = &mut self.processes[who];
            let more = process.log.work(now);
            let line = format!("{} works; more: {more}", process.name);
            self.tell(line);
            self.hear(who);
        }
    }

    pub(crate) fn close(&mut self, who: usize) {
        let now = self.now;
        let mut process = self.processes.swap_remove(who);
        let closed = process.log.close(now);
        self.tell(format!("{} closes: {closed:?}", process.name));
        if closed.is_ok() {
            process.rewritten.iter().for_each(|key| self.truths[*key as usize].may_be_twice = false);
            for key in process.settled {
                let fate = &mut self.truths[key as usize].fate;
                if *fate == Fate::Settled {
                    *fate = Fate::Gone;
                }
            }
        }
    }

    fn kill(&mut self, who: usize) {
        let process = self.processes.swap_remove(who);
        process.disk.kill();
        self.tell(format!("{} is killed", process.name));
    }

    fn lose_power(&mut self) {
        let seed = self.random.next_u64();
        let disk = self.disk.after_power_loss(seed);
        self.processes.drain(..).for_each(|process| process.disk.kill());
        self.disk = disk;
        self.disk.set_rates(self.rates);
        self.is_healthy = false;
        self.tell("the power is lost".to_owned());
        if !self.config.fsync {
            for truth in &mut self.truths {
                truth.fate = match truth.fate {
                    Fate::Safe => Fate::Unsaid,
                    Fate::Gone => Fate::Settled,
                    fate => fate,
                };
            }
        }
    }

    fn change_faults(&mut self) {
        let free = self.random.below(60_000) as u64;
        let used: u64 =
            self.disk.files(Path::new("/")).iter().map(|path| self.disk.get(path).len() as u64).sum();
        let is_harsh = self.rates.write_eio > 0;
        self.is_healthy = false;
        match self.random.below(4) {
            0 if is_harsh => self.disk.set_capacity(Some(used + free)),
            1 if is_harsh => self.disk.set_read_only(true),
            2 => self.disk.set_rates(self.rates),
            _ => self.heal(),
        }
        self.tell("the faults change".to_owned());
    }

    fn heal(&mut self) {
        self.disk.set_capacity(None);
        self.disk.set_read_only(false);
        self.disk.set_rates(Rates::default());
        self.is_healthy = true;
    }

    /// Puts events into the books; whether a segment was poisoned.
    fn hear(&mut self, who: usize) -> bool {
        let may_drop = self.may_drop();
        let is_readable = self.rates.read_eio == 0;
        let process = &mut self.processes[who];
        let mut was_poisoned = false;
        let mut lines = Vec::new();
        for event in process.log.take_events() {
            lines.push(format!("  {event:?}"));
            match event {
                Event::Recovered { records, items, unopened } => {
                    process.records.0 += records;
                    process.items.0 += items + unopened;
                }
                Event::Lost { reason, records, items, unopened, .. } => {
                    process.lost_records += records;
                    process.items.1 += items + unopened;
                    self.gave_up |= reason == DropReason::Corrupt && items + unopened > 0 && !is_readable;
                    if reason == DropReason::Expired || (reason == DropReason::Evicted && !may_drop) {
                        lines.push(format!("violation: {reason:?}"));
                    }
                }
                Event::Poisoned { .. } => was_poisoned = true,
                Event::Torn { .. }
                | Event::Written { .. }
                | Event::LeftAlone { .. }
                | Event::Failed { .. } => {}
            }
        }
        for line in lines {
            if let Some(violation) = line.strip_prefix("violation: ") {
                self.violated(format!("{violation} in a log that keeps all"));
            } else {
                self.tell(line);
            }
        }
        was_poisoned
    }

    /// What must hold between any two steps.
    pub(crate) fn check(&mut self) {
        let calls = self.disk.calls();
        if calls.syncs_after_failure > 0 {
            self.violated("a file was synced again whose sync had failed".to_owned());
        }
        for who in 0..self.processes.len() {
            let process = &self.processes[who];
            let counts = process.log.counts();
            let held: u64 = process.held.values().map(|key| self.truths[*key as usize].items).sum();
            let (came, left) = process.items;
            let is_right = (came + held).checked_sub(left) == Some(counts.items + counts.unopened);
            let (came, left) = process.records;
            let most = (came + process.held.len() as u64).checked_sub(left);
            let least = most.map(|most| most.saturating_sub(process.lost_records));
            let is_right = is_right && least <= Some(counts.records) && Some(counts.records) <= most;
            if counts.uncounted_segments == 0 && !is_right {
                let (name, items) = (process.name.clone(), process.items);
                let books =
                    format!("{items:?} items, {least:?} to {most:?} records and {held} items in memory");
                self.violated(format!("the books of {name} do not add up: {books}, and {counts:?}"));
            }
        }
    }

    pub(crate) fn tell(&mut self, line: String) {
        self.story.push(format!("{} {line}", self.now - BEGINNING));
    }

    pub(crate) fn violated(&mut self, line: String) {
        self.tell(format!("VIOLATION: {line}"));
        self.violations.push(line);
    }
}
