//! Turns against a model that knows nothing of rounds: everybody is served, the room is used, and nobody gets more than its share.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Serves everybody who is called; who it was, and with how many bytes.
fn serve(
    turns: &mut Turns<(u64, usize)>,
    tickets: &mut BTreeMap<(u64, usize), VecDeque<Ticket>>,
) -> Vec<(u64, usize)> {
    let called: Vec<(u64, usize)> = turns.called().copied().collect();
    for who in &called {
        // Within one size of one line the first is called first.
        let ticket = tickets.get_mut(who).unwrap().pop_front().unwrap();
        assert!(turns.is_called(&ticket));
        turns.leave(&ticket);
    }
    called
}

fn enter(
    turns: &mut Turns<(u64, usize)>,
    tickets: &mut BTreeMap<(u64, usize), VecDeque<Ticket>>,
    line: u64,
    bytes: usize,
) {
    let ticket = turns.enter(line, bytes, (line, bytes));
    tickets.entry((line, bytes)).or_default().push_back(ticket);
}

/// One line has 256 requests of 64 KiB, nine have one of 4 KiB at a time: a round lets each of the nine in, and the noisy one
/// with no more than one request in four rounds.
#[test]
fn a_noisy_line_gets_no_more_bytes_than_the_others() {
    let (mut turns, mut tickets) = (Turns::default(), BTreeMap::new());
    (0..256).for_each(|_| enter(&mut turns, &mut tickets, 0, 64 << 10));
    (1..=9).for_each(|line| enter(&mut turns, &mut tickets, line, 4 << 10));
    let mut served: BTreeMap<u64, usize> = BTreeMap::new();
    for _ in 0..400 {
        turns.call(Room { bytes: 64 << 10, requests: 1 }, |_| {});
        for (line, bytes) in serve(&mut turns, &mut tickets) {
            *served.entry(line).or_default() += bytes;
            if line > 0 {
                enter(&mut turns, &mut tickets, line, bytes);
            }
        }
    }
    let quiet: Vec<usize> = (1..=9).map(|line| served[&line] / (4 << 10)).collect();
    assert!(quiet.iter().max().unwrap() - quiet.iter().min().unwrap() <= 1, "{quiet:?}");
    let noisy = served[&0] / (64 << 10);
    assert!(quiet[0] >= 4 * noisy - 4 && noisy > 8, "{noisy} of the noisy one, {quiet:?} of the others");
}

#[test]
fn a_reset_leaves_its_place_to_the_next() {
    let mut turns = Turns::default();
    let (first, second) = (turns.enter(7, 10, 'a'), turns.enter(7, 10, 'b'));
    turns.leave(&first);
    turns.call(Room { bytes: 10, requests: 9 }, |_| {});
    assert!(turns.is_called(&second) && turns.len() == 1);
    turns.leave(&second);
    assert!(turns.is_empty() && turns.lines.is_empty() && turns.ring.is_empty());
    turns.leave(&second);
    assert!(turns.is_empty(), "leaving twice is leaving once");
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u64, usize),
    GiveUp(usize),
    Room(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6_u64, 1..200_000_usize).prop_map(|(line, bytes)| Step::Enter(line, bytes)),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => (0..300_000_usize, 1..8_usize).prop_map(|(bytes, requests)| Step::Room(bytes, requests)),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever comes, gives up and is let in: the counts agree with a plain list, room is never left unused while somebody
    /// waits, never more is called than there is room for (but for one), a line is served in its order, and all come to their
    /// turn.
    #[test]
    fn everybody_is_served_in_turn(steps in steps()) {
        let mut turns: Turns<u64> = Turns::default();
        let mut here: Vec<(Ticket, u64, usize)> = Vec::new();
        let mut next = 0;
        let end = std::iter::repeat_n(Step::Room(usize::MAX, usize::MAX), 1);
        for step in steps.into_iter().chain(end) {
            match step {
                Step::Enter(line, bytes) => {
                    here.push((turns.enter(line, bytes, next), line, bytes));
                    next += 1;
                }
                Step::GiveUp(at) if !here.is_empty() => {
                    let (ticket, ..) = here.remove(at % here.len());
                    turns.leave(&ticket);
                }
                Step::GiveUp(_) => {}
                Step::Room(bytes, requests) => {
                    turns.call(Room { bytes, requests }, |_| {});
                    let called: Vec<usize> =
                        (0..here.len()).filter(|at| turns.is_called(&here[*at].0)).collect();
                    prop_assert_eq!(called.is_empty(), here.is_empty());
                    let sum: usize = called.iter().map(|at| here[*at].2).sum();
                    prop_assert!(called.len() == 1 || (sum <= bytes && called.len() <= requests));
                    for at in called.into_iter().rev() {
                        let (ticket, line, _) = here.remove(at);
                        let mut before = here[..at].iter().filter(|(_, of, _)| *of == line);
                        prop_assert!(before.all(|(other, ..)| turns.is_called(other)), "out of order");
                        turns.leave(&ticket);
                    }
                }
            }
            prop_assert_eq!(turns.len(), here.len());
        }
        prop_assert!(here.is_empty() && turns.is_empty());
    }

    /// Whoever takes of what is left leaves as much as it had before; where all want the same, one share is left for the next who comes.
    #[test]
    fn a_share_leaves_room_for_the_next(units in 1..64_usize, lines in 1..40_usize) {
        let (max, mut used, mut own) = (4096, 0, vec![0; lines]);
        for at in 0..5000 {
            let mine = &mut own[at % lines];
            if leaves_room(*mine, units, max - used) {
                used += units;
                prop_assert!(max - used >= *mine);
                *mine += units;
            }
        }
        let share = max / (lines + 1);
        prop_assert!(max - used + units >= share, "{} left, {share} is the share", max - used);
        prop_assert!(own.iter().all(|own| *own <= max / 2 + units));
    }
}
