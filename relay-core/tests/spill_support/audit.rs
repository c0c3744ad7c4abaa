//! What is left, told by a process that starts on a copy of the disk: everything that is safe comes back, byte for byte, and nothing
//! that must not.

use std::collections::BTreeMap;
use std::path::Path;

use super::payloads::key_of;
use super::reopen::reopen;
use super::world::{DIR, Fate, World};

/// Holds what a kill (or a loss of power) now would leave against the truth.
pub(crate) fn audit(world: &mut World, of_power_loss: bool) {
    let seed = world.random.next_u64();
    let disk = if of_power_loss { world.disk.after_power_loss(seed) } else { world.disk.copied(seed) };
    // Late enough that what was not finished being made is tidied up.
    let (dir, now) = (Path::new(DIR), world.now + 61_000);
    let mut left = reopen(&disk, dir, &world.config, now);
    let mut problems = std::mem::take(&mut left.problems);
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for record in &left.records {
        match key_of(record) {
            Some(key) => *times.entry(key).or_default() += 1,
            None => problems.push(format!("what nobody wrote: {:?}", record.id)),
        }
    }
    let is_unsafe = world.may_drop() || (of_power_loss && !world.config.fsync);
    for (key, truth) in world.truths.iter().enumerate() {
        let times = times.remove(&(key as u64)).unwrap_or_default();
        let is_right = match truth.fate {
            Fate::Refused => times == 0,
            Fate::Gone => times == 0 || (of_power_loss && !world.config.fsync),
            Fate::Unsaid | Fate::Settled => times <= 1 || truth.may_be_twice,
            Fate::Safe => times == 1 || (times == 0 && is_unsafe) || (times > 1 && truth.may_be_twice),
        };
        if !is_right {
            problems.push(format!("{key} is {:?} and came back {times} times", truth.fate));
        }
    }
    problems.extend(times.keys().map(|key| format!("{key} was never written")));
    problems.extend(left.finish(&disk, dir, &world.config, now));
    let what = if of_power_loss { "a loss of power" } else { "a kill" };
    problems.into_iter().for_each(|problem| world.violated(format!("after {what}: {problem}")));
}
