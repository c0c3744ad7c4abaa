//! One call to the disk fails, for every call of a whole life, those that read as well: nothing that is safe is lost, and the log
//! stores again with the next append.

#![cfg(test)]

mod spill_support;

use spill_support::audit::audit;
use spill_support::fault_disk::{EIO, ENOSPC};
use spill_support::life::{LIFE, act};
use spill_support::world::World;

fn fail_each_call(error: i32) {
    let mut whole = World::scripted(5);
    for deed in LIFE {
        act(&mut whole, deed);
    }
    let calls = whole.disk.calls().all();
    assert!(calls > 200, "a short life: {calls} calls");
    for after in 0..calls {
        let mut world = World::scripted(5);
        world.disk.fail_any(after, error);
        for deed in LIFE {
            // Until it has come, an append may fail.
            world.is_healthy = !world.disk.has_orders();
            let had_orders = world.disk.has_orders();
            act(&mut world, deed);
            if had_orders && !world.disk.has_orders() {
                audit(&mut world, false);
                (0..4).for_each(|_| audit(&mut world, true));
            }
        }
        audit(&mut world, false);
        audit(&mut world, true);
        let story = world.story.join("\n");
        assert!(world.violations.is_empty(), "error {error} of call {after}:\n{story}");
    }
}

#[test]
fn an_input_output_error_of_any_call() {
    fail_each_call(EIO);
}

#[test]
fn no_space_for_any_call() {
    fail_each_call(ENOSPC);
}
