//! A process that dies in its n-th call to the disk, for every n of a whole life: making a directory, appending over several segments,
//! settling, writing down, deleting, closing, being adopted. What was safe is safe after a kill and after a loss of power.

#![cfg(test)]

mod spill_support;

use spill_support::audit::audit;
use spill_support::life::{LIFE, act};
use spill_support::world::World;

#[test]
fn a_death_in_any_call() {
    for seed in 0..3 {
        let mut whole = World::scripted(seed);
        for deed in LIFE {
            act(&mut whole, deed);
            audit(&mut whole, true);
        }
        assert!(whole.violations.is_empty(), "{}", whole.story.join("\n"));
        let calls = whole.disk.calls().changes();
        assert!(calls > 80, "a short life: {calls} calls");
        for after in 0..calls {
            let mut world = World::scripted(seed);
            world.disk.die_after(after);
            for deed in LIFE {
                if act(&mut world, deed) {
                    audit(&mut world, false);
                    (0..4).for_each(|_| audit(&mut world, true));
                }
            }
            audit(&mut world, true);
            let story = world.story.join("\n");
            assert!(world.violations.is_empty(), "life {seed}, death after {after} calls:\n{story}");
        }
    }
}
