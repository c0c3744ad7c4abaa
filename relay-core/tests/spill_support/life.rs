//! A whole life of a log: its directory is made, segments are filled and finished, records are settled, written down, deleted and
//! read back, a second and a third process come, adopt and leave.

use super::world::World;

/// What somebody does; the number is who.
pub(crate) const LIFE: [(&str, usize); 44] = [
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
pub(crate) fn act(world: &mut World, (deed, who): (&str, usize)) -> bool {
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
