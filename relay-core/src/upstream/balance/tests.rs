//! The table of addresses by itself: shares, probes, limits, membership; time is made up.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::{LEARNED_BYTES_MIN, RECONNECT_DELAY_MAX, THROTTLE_DELAY_MAX};

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
    Instant::now()
}

fn places(numbers: &[u8]) -> Vec<Place> {
    numbers.iter().map(|number| Place::Tcp(([127, 0, 0, *number], 4317).into())).collect()
}

/// Numbers in 0..1 that look random enough and are the same in every run.
fn randoms() -> impl FnMut() -> f64 {
    let mut at = 0.0_f64;
    move || {
        at = (at + 0.618_033_988_749_895).fract();
        at
    }
}

fn table(balancer: Balancer, count: u8, now: Instant) -> (Table, Arc<[Arc<Address>]>) {
    let table = Table::new(balancer, now);
    let numbers: Vec<u8> = (1..=count).collect();
    let addresses = table.update(|| places(&numbers), || 0.5);
    (table, addresses)
}

fn wish(bytes: usize, now: Instant, random: f64) -> Wish {
    Wish { bytes, now, random, urgent: false }
}

fn at(pick: Pick) -> usize {
    let Pick::Address { at, .. } = pick else { panic!("{pick:?}") };
    at
}

/// The largest and the smallest share of many calls of which `in_flight` are open at a time, those of address 0 for twice as long.
fn shares(balancer: Balancer, in_flight: usize) -> (usize, usize, usize) {
    let now = start();
    let (table, addresses) = table(balancer, 3, now);
    let (mut random, mut counts, mut open) = (randoms(), [0; 3], Vec::new());
    for turn in 0..6000 {
        let picked = at(table.pick(&addresses, &wish(10, now, random()), |_| true));
        counts[picked] += 1;
        addresses[picked].begin_call();
        open.push((turn + in_flight * if picked == 0 { 2 } else { 1 }, picked));
        open.retain(|(until, picked)| {
            let goes_on = *until > turn;
            if !goes_on {
                addresses[*picked].end_call();
            }
            goes_on
        });
    }
    (counts[0], counts[1], counts[2])
}

#[test]
fn the_slow_one_gets_less_and_the_others_the_same() {
    let (slow, second, third) = shares(Balancer::LeastInFlight, 12);
    assert!(slow * 5 < second * 4, "{slow} {second}");
    assert!(second.abs_diff(third) * 10 < second, "{second} {third}");
    let (first, second, third) = shares(Balancer::RoundRobin, 12);
    assert_eq!((first, second, third), (2000, 2000, 2000));
    let (first, second, third) = shares(Balancer::PickFirst, 12);
    assert_eq!(first.max(second).max(third), 6000);
}

#[test]
fn with_nothing_in_flight_shares_are_even() {
    let now = start();
    let (table, addresses) = table(Balancer::LeastInFlight, 5, now);
    let (mut random, mut counts) = (randoms(), [0_u32; 5]);
    (0..5000).for_each(|_| counts[at(table.pick(&addresses, &wish(1, now, random()), |_| true))] += 1);
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

/// All are throttled: everybody waits for the first that is due; then one call goes there, and its answer lets the others go.
#[test]
fn a_throttled_address_gets_one_probe() {
    let now = start();
    let (table, addresses) = table(Balancer::LeastInFlight, 2, now);
    addresses[0].throttled(now, Duration::from_secs(2));
    assert_eq!(at(table.pick(&addresses, &wish(1, now, 0.1), |_| true)), 1);
    addresses[1].throttled(now, Duration::from_secs(1));
    let wait = table.pick(&addresses, &wish(1, now, 0.1), |_| true);
    assert_eq!(wait, Pick::Wait(Some(now + Duration::from_secs(1))));
    let due = now + Duration::from_secs(1);
    let pick = |random| table.pick(&addresses, &wish(1, due, random), |_| true);
    assert_eq!(pick(0.1), Pick::Address { at: 1, probe: true });
    assert_eq!(pick(0.9), Pick::Wait(Some(now + Duration::from_secs(2))), "the others wait");
    // One that was sent before says nothing.
    addresses[1].answered(false);
    assert!(matches!(pick(0.9), Pick::Wait(_)));
    addresses[1].answered(true);
    assert_eq!(pick(0.9), Pick::Address { at: 1, probe: false });
    let urgent = Wish { urgent: true, ..wish(1, now, 0.1) };
    addresses[1].throttled(now, Duration::from_secs(86_400));
    assert!(matches!(table.pick(&addresses, &urgent, |_| true), Pick::Address { probe: false, .. }));
    assert_eq!(addresses[1].gate(), Gate::Throttled(now + THROTTLE_DELAY_MAX), "an absurd rest is cut");
}

/// An address that is down is dialled by one, then tried by one, and only an answer makes it one like the others.
#[test]
fn an_address_comes_back_by_one_dial_and_one_call() {
    let now = start();
    let (table, addresses) = table(Balancer::LeastInFlight, 1, now);
    let address = &addresses[0];
    assert!(address.claim_dial(now, false) && address.claim_dial(now, false), "at first each core dials");
    assert!(address.failed(now, 1.0));
    assert!(!address.failed(now, 1.0), "the other core's failure is the same one");
    let Pick::Wait(Some(until)) = table.pick(&addresses, &wish(1, now, 0.0), |_| false) else { panic!() };
    assert!(until > now && !address.claim_dial(now, false));
    assert!(address.claim_dial(until, false));
    assert!(!address.claim_dial(until, false) && !address.claim_dial(until, true), "one dials");
    address.dialled();
    let pick = || table.pick(&addresses, &wish(1, until, 0.0), |_| true);
    assert_eq!(pick(), Pick::Address { at: 0, probe: true });
    assert_eq!(pick(), Pick::Wait(None));
    address.probe_lost();
    assert_eq!(pick(), Pick::Address { at: 0, probe: true });
    // A crash loop: it could be dialled, and has not answered.
    assert!(address.failed(until, 1.0));
    let Gate::Down(later) = address.gate() else { panic!() };
    assert!(later - until > until - now, "the delay goes on growing");
    address.claim_dial(later, false);
    address.dialled();
    assert_eq!(pick(), Pick::Address { at: 0, probe: true });
    assert!(address.answered(true));
    assert_eq!(pick(), Pick::Address { at: 0, probe: false });
    assert_eq!((address.failed_total(), address.answered_total()), (2, 1));
}

#[test]
fn one_that_refuses_is_avoided_while_there_are_others() {
    let now = start();
    let (table, addresses) = table(Balancer::RoundRobin, 2, now);
    addresses[0].avoid(now);
    let picked = |now| -> Vec<usize> {
        (0..4).map(|_| at(table.pick(&addresses, &wish(1, now, 0.0), |_| true))).collect()
    };
    assert_eq!(picked(now), [1; 4]);
    addresses[1].avoid(now);
    assert!(picked(now).contains(&0), "a refusal is better than none");
    assert!(picked(now + Duration::from_secs(2)).contains(&0));
}

/// A message goes where it fits; what fits nowhere is said, with the largest limit of those that live.
#[test]
fn limits_are_learned_for_each_address() {
    let now = start();
    let (table, addresses) = table(Balancer::LeastInFlight, 3, now);
    assert_eq!(table.bytes_max(), usize::MAX);
    addresses[0].learn(1 << 20, true);
    addresses[0].learn(3 << 20, true);
    addresses[1].learn(2 << 20, true);
    let pick = |bytes, random| table.pick(&addresses, &wish(bytes, now, random), |_| true);
    assert!((0..100_u32).all(|i| at(pick((2 << 20) + 1, f64::from(i) / 100.0)) == 2));
    assert!((0..100_u32).any(|i| at(pick(1 << 20, f64::from(i) / 100.0)) == 0));
    addresses[2].learn(10, true);
    assert_eq!(addresses[2].bytes_max(), Some(LEARNED_BYTES_MIN));
    assert_eq!(pick((2 << 20) + 1, 0.5), Pick::TooLarge(2 << 20));
    assert_eq!(table.bytes_max(), 2 << 20);
    addresses[1].failed(now, 0.5);
    assert_eq!(pick(2 << 20, 0.5), Pick::TooLarge(1 << 20), "what is down takes nothing");
    assert_eq!(table.bytes_max(), 1 << 20);
    assert!([0, 2].iter().all(|at: &usize| addresses[*at].failed(now, 0.5)));
    assert!(matches!(pick(3 << 20, 0.5), Pick::Wait(Some(_))), "nobody knows what comes back");
}

/// A limit that was only guessed keeps a message away while there is another address, and is no reason to cut it.
#[test]
fn a_guessed_limit_is_no_limit() {
    let now = start();
    let (table, addresses) = table(Balancer::RoundRobin, 2, now);
    addresses[0].learn(1 << 20, false);
    let pick = |bytes| table.pick(&addresses, &wish(bytes, now, 0.5), |_| true);
    assert_eq!([at(pick(2 << 20)), at(pick(2 << 20))], [1, 1]);
    addresses[1].learn(1 << 20, true);
    assert_eq!([at(pick(2 << 20)), at(pick(2 << 20))], [0, 0]);
    assert_eq!(table.bytes_max(), 1 << 20);
}

#[test]
fn membership_keeps_what_stays_and_forgets_what_leaves() {
    let now = start();
    let (table, before) = table(Balancer::LeastInFlight, 3, now);
    before[1].learn(1 << 20, true);
    before[2].learn(1 << 20, true);
    let after = table.update(|| places(&[2, 4]), || 0.5);
    assert_eq!(after.len(), 2);
    assert!(Arc::ptr_eq(&after[0], &before[1]));
    assert!(Arc::ptr_eq(&table.update(|| places(&[2, 4]), || 0.5), &after), "nothing has changed");
    let again = table.update(|| places(&[2, 3]), || 0.5);
    assert_eq!((again[0].bytes_max(), again[1].bytes_max()), (Some(1 << 20), None));
    let none = table.update(Vec::new, || 0.5);
    assert_eq!(table.pick(&none, &wish(1, now, 0.5), |_| true), Pick::Wait(None));
}

#[test]
fn pick_first_stays_with_what_is_connected() {
    let now = start();
    let table = Table::new(Balancer::PickFirst, now);
    let ranks = std::cell::Cell::new(1.0);
    let lower = || ranks.replace(ranks.get() / 2.0);
    let addresses = table.update(|| places(&[1, 2, 3]), lower);
    let pick = |connected: &[usize]| table.pick(&addresses, &wish(1, now, 0.5), |at| connected.contains(&at));
    assert_eq!(at(pick(&[0, 1, 2])), 2, "the lowest rank");
    assert_eq!(at(pick(&[0])), 0);
    assert_eq!(pick(&[]), Pick::Wait(None));
}

/// What a caller on some core does with an address.
#[derive(Clone, Copy, Debug)]
enum Step {
    Call { bytes: usize, random: f64, urgent: bool },
    Answer,
    Throttle(u64),
    Lose,
    Abandon,
    Dial(usize),
    Wait(u64),
    Learn(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..300_000_usize, 0.0..1.0, prop::bool::weighted(0.05))
            .prop_map(|(bytes, random, urgent)| Step::Call { bytes, random, urgent }),
        3 => Just(Step::Answer),
        1 => (0..5_000_u64).prop_map(Step::Throttle),
        1 => Just(Step::Lose),
        1 => Just(Step::Abandon),
        2 => (0..4_usize).prop_map(Step::Dial),
        2 => (0..3_000_u64).prop_map(Step::Wait),
        1 => (0..4_usize, 0..300_000_usize).prop_map(|(at, bytes)| Step::Learn(at, bytes)),
    ]
}

proptest! {
    /// Whatever happens: nobody probes while another one does, nothing is sent to what is down or rests, or above a limit; and when all
    /// that was begun has ended, a healthy upstream is soon as open as at first.
    #[test]
    fn gates_hold_and_never_jam(steps in prop::collection::vec(step(), 1..200), balancer in 0..3_usize) {
        let balancer = [Balancer::LeastInFlight, Balancer::RoundRobin, Balancer::PickFirst][balancer];
        let mut now = start();
        let (table, addresses) = table(balancer, 4, now);
        // Calls in flight, in the order of their beginning, and whether each is a probe.
        let mut calls: Vec<(usize, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Call { bytes, random, urgent } => {
                    let gates: Vec<Gate> = addresses.iter().map(|address| address.gate()).collect();
                    match table.pick(&addresses, &Wish { bytes, now, random, urgent }, |_| true) {
                        Pick::Address { at, probe } => {
                            let is_down = |gate: &Gate| matches!(gate, Gate::Down(_) | Gate::Dialling);
                            prop_assert!(addresses[at].takes(bytes) != Takes::No || gates.iter().all(is_down));
                            let may = match gates[at] {
                                Gate::Open => !probe,
                                Gate::Trial => probe,
                                Gate::Down(until) | Gate::Throttled(until) => probe && until <= now,
                                Gate::Dialling | Gate::Probing => false,
                            };
                            prop_assert!(may || (urgent && !probe), "{:?}", gates[at]);
                            addresses[at].begin_call();
                            calls.push((at, probe));
                        }
                        Pick::Wait(until) => prop_assert!(until.is_none_or(|until| until > now)),
                        Pick::TooLarge(max) => prop_assert!(bytes > max),
                    }
                }
                Step::Dial(at) => {
                    if addresses[at].claim_dial(now, false) {
                        if calls.len().is_multiple_of(2) {
                            addresses[at].dialled();
                        } else {
                            addresses[at].failed(now, 0.5);
                        }
                    }
                }
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Learn(at, bytes) => addresses[at].learn(bytes, bytes % 2 == 0),
                ending => {
                    if calls.is_empty() {
                        continue;
                    }
                    let (at, probe) = calls.remove(0);
                    addresses[at].end_call();
                    match ending {
                        Step::Answer => {
                            addresses[at].answered(probe);
                        }
                        Step::Throttle(millis) => addresses[at].throttled(now, Duration::from_millis(millis)),
                        Step::Lose => {
                            addresses[at].failed(now, 0.5);
                        }
                        _ => if probe { addresses[at].probe_lost() },
                    }
                }
            }
            for (at, address) in addresses.iter().enumerate() {
                prop_assert_eq!(address.calls(), calls.iter().filter(|(of, _)| *of == at).count());
            }
        }
        for (at, probe) in calls {
            addresses[at].end_call();
            addresses[at].answered(probe);
        }
        now += THROTTLE_DELAY_MAX + RECONNECT_DELAY_MAX;
        for address in &*addresses {
            if address.is_down() {
                prop_assert!(address.claim_dial(now, false));
                address.dialled();
            }
            let probe = address.claim_probe(now);
            address.answered(probe);
            prop_assert_eq!(address.gate(), Gate::Open);
            prop_assert_eq!(address.calls(), 0);
        }
    }
}
