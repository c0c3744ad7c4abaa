//! A process that dies in its n-th call to the disk, for every n of a whole life: making a directory, appending over several segments,
//! settling, writing down, deleting, closing, being adopted. What was safe is safe after a kill and after a loss of power.

#![cfg(test)]

mod spill_support;

use spill_support::audit::audit;
use spill_support::world::World;

/// What somebody does; the number is who.
const LIFE: [(&str, usize); 44] = [
    ("append", 0),
    ("append", 0),
    ("settle", 0),
    ("release", 0),
    ("wait", 0),
    ("work", 0),
    ("append", 0),
    ("append", 0),
    ("read", 0),
    ("settle", 0),
    ("append", 0),
    ("release", 0),
    ("wait", 0),
    ("work", 0),
    ("start", 0),
    ("append", 1),
    ("append", 1),
    ("settle", 1),
    ("settle", 0),
    ("append", 0),
    ("wait", 0),
    ("work", 0),
    ("work", 1),
    ("close", 0),
    ("adopt", 0),
    ("work", 0),
    ("read", 0),
    ("settle", 0),
    ("settle", 0),
    ("wait", 0),
    ("work", 0),
    ("read", 0),
    ("append", 0),
    ("settle", 0),
    ("settle", 0),
    ("wait", 0),
    ("work", 0),
    ("close", 0),
    ("start", 0),
    ("work", 0),
    ("read", 0),
    ("settle", 0),
    ("wait", 0),
    ("close", 0),
];

/// Does one deed of a life; whether somebody has ended.
fn act(world: &mut World, (deed, who): (&str, usize)) -> bool {
    if world.processes.is_empty() {
        world.start();
    }
    let before = world.processes.len();
    let who = who.min(before - 1);
    match deed {
        "append" => world.append(who),
        "settle" => world.settle(who),
        "release" => world.release(who),
        "read" => world.read(who),
        "work" => world.work(who),
        "adopt" => world.adopt(who),
        "close" => world.close(who),
        "start" => world.start(),
        _ => world.now += 1_100,
    }
    world.bury();
    world.check();
    world.processes.len() < before
}

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
