//! A tier on one core: takes batches from the exporter's queue, sorts them by the ring, and hands them to the members' senders. Must
//! never hold more than those have room for: what waits belongs into the one queue.

use std::cell::RefCell;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::member::{Back, Member, MemberSide};
use super::tier::Tier;
use crate::batch::{Batch, DropReason};
use crate::io::clock::{self, Dice};
use crate::io::intake::Intake;
use crate::io::log_limit::LogLimit;
use crate::io::origins::Origins;
use crate::io::resolver::Membership;
use crate::io::sender::{Phase, Sender};
use crate::io::shared::RouteConfig;
use crate::limits::FULL_LOOK_INTERVAL;
use crate::queue::Full;
use crate::upstream::{Endpoint, Ring};

/// Belongs to one core.
pub(crate) struct Keyed {
    about: usize,
    cores: usize,
    origins: Arc<Origins>,
    intake: Rc<Intake>,
    tier: Arc<Tier>,
    phase: watch::Receiver<Phase>,
    log: Rc<LogLimit>,
    dice: Rc<Dice>,
    current: RefCell<Current>,
    leaving: Rc<RefCell<Vec<Rc<Member>>>>,
    back: Rc<Back>,
}

/// The members, in the order that the ring knows them by.
#[derive(Default)]
struct Current {
    ring: Ring,
    members: Vec<Rc<Member>>,
}

impl Keyed {
    /// For the upstream of `intake`, if it is a tier.
    pub(crate) fn of(
        (about, intake): (usize, &Rc<Intake>),
        (cores, origins): (usize, &Arc<Origins>),
        phase: &watch::Receiver<Phase>,
        (log, dice): (&Rc<LogLimit>, &Rc<Dice>),
    ) -> Option<Self> {
        let RouteConfig::Keyed(tier) = &intake.upstream.route else { return None };
        Some(Self {
            about,
            cores,
            origins: Arc::clone(origins),
            intake: Rc::clone(intake),
            tier: Arc::clone(tier),
            phase: phase.clone(),
            log: Rc::clone(log),
            dice: Rc::clone(dice),
            current: RefCell::default(),
            leaving: Rc::default(),
            back: Rc::default(),
        })
    }

    /// Whether nothing waits here and no call to a member is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let is_idle = |members: &[Rc<Member>]| members.iter().all(|member| member.sender.is_idle());
        self.back.batches.borrow().is_empty()
            && is_idle(&self.current.borrow().members)
            && is_idle(&self.leaving.borrow())
    }

    /// Hands out batches for ever. Ends if the sender of a member has panicked.
    pub(crate) async fn run(&self) {
        let (lanes, core) = (&self.intake.upstream.lanes, self.intake.core);
        let (mut phase, mut membership) = (self.phase.clone(), self.tier.membership());
        let mut running = JoinSet::new();
        self.update(&mut running);
        loop {
            let now = *phase.borrow_and_update();
            self.tell(now);
            if now == Phase::Over {
                self.give_up();
                return pending().await;
            }
            let ready = self.is_ready();
            if ready && let Some(batch) = self.next(now != Phase::Running) {
                self.hand_out(batch);
                // Others of this core want their turn.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.intake.due_at(false);
            tokio::select! {
                biased;
                () = changed(membership.as_mut()) => self.update(&mut running),
                _ = phase.changed() => {}
                Some(ended) = running.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        return;
                    }
                }
                () = self.back.changed.notified() => {}
                () = lanes.woken(core), if ready => {}
                () = until(due), if ready => {}
                () = tokio::time::sleep(FULL_LOOK_INTERVAL), if !ready => {}
            }
        }
    }

    /// Whether a batch is to be taken: some member has nothing to do, so that batches go on filling while all are slow; and none is so
    /// far behind that there is no room for its share.
    fn is_ready(&self) -> bool {
        let members = &self.current.borrow().members;
        members.iter().any(|member| member.waiting() == 0) && !members.iter().any(|member| member.is_full())
    }

    fn next(&self, drain: bool) -> Option<Batch> {
        let (lanes, core) = (&self.intake.upstream.lanes, self.intake.core);
        let back = self.back.batches.borrow_mut().pop_front();
        let next = back.or_else(|| self.intake.next(drain)).or_else(|| {
            lanes.set_idle(core, true);
            self.intake.next(drain)
        })?;
        lanes.set_idle(core, false);
        Some(next)
    }

    fn hand_out(&self, batch: Batch) {
        let current = self.current.borrow();
        let (key, count) = (self.tier.config().key, current.members.len());
        for (at, piece) in batch.regroup(key, count, |key| current.ring.member(key).unwrap_or(0)) {
            let Some(member) = current.members.get(at) else { continue };
            let intake = &member.sender.intake;
            if let Err(Full(piece)) = intake.upstream.lanes.push(intake.core, piece) {
                self.back.put(piece);
            }
        }
    }

    fn tell(&self, phase: Phase) {
        self.current.borrow().members.iter().for_each(|member| member.tell(phase));
        if phase == Phase::Over {
            self.leaving.borrow().iter().for_each(|member| member.tell(phase));
        }
    }

    /// Drops what no call has begun to send: the drain's time is over.
    fn give_up(&self) {
        self.current.borrow().members.iter().for_each(|member| member.take_waiting());
        for batch in self.back.batches.take() {
            batch.drop_for(DropReason::ShutdownDeadline);
        }
    }

    /// Takes over the members as they are now; what has not been sent is sorted anew.
    fn update(&self, running: &mut JoinSet<()>) {
        let names = self.tier.names();
        let mut current = self.current.borrow_mut();
        if names.iter().map(|(name, _)| name).eq(current.members.iter().map(|member| &member.side.name)) {
            return;
        }
        let old = std::mem::take(&mut current.members);
        for (name, endpoint) in &names {
            let known = old.iter().chain(&current.members).find(|member| member.side.name == *name);
            let member = known.cloned().or_else(|| self.start(name, endpoint, running));
            current.members.extend(member);
        }
        let ring_of: Vec<&str> = current.members.iter().map(|member| member.side.name.as_str()).collect();
        current.ring = Ring::new(&ring_of);
        for member in old {
            member.take_waiting();
            if !current.members.iter().any(|stays| Rc::ptr_eq(stays, &member)) {
                member.side.left.set(true);
                self.leaving.borrow_mut().push(Rc::clone(&member));
                tokio::task::spawn_local(member.leave(Rc::clone(&self.leaving)));
            }
        }
    }

    fn start(&self, name: &str, endpoint: &Endpoint, running: &mut JoinSet<()>) -> Option<Rc<Member>> {
        let upstream = self.tier.member(&self.intake.upstream, (name, endpoint))?;
        let (phase, seen) = watch::channel(*self.phase.borrow());
        let side = Rc::new(MemberSide {
            name: name.to_owned(),
            tier: Arc::clone(&self.tier),
            back: Rc::clone(&self.back),
            phase: self.phase.clone(),
            left: false.into(),
        });
        let intake = Rc::new(Intake::new(self.intake.core, upstream));
        let shared = (Rc::clone(&self.log), Rc::clone(&self.dice));
        let sender = Sender::of_member(
            (self.about, intake),
            (self.cores, &self.origins),
            seen,
            shared,
            Some(Rc::clone(&side)),
        );
        // Boxed: a sender that has members runs senders.
        let run: Pin<Box<dyn Future<Output = ()>>> = Box::pin(Rc::clone(&sender).run());
        let task = running.spawn_local(run);
        Some(Rc::new(Member { sender, side, phase, task }))
    }
}

async fn changed(membership: Option<&mut Membership>) {
    match membership {
        Some(membership) => membership.changed().await,
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => clock::sleep_until(due).await,
        None => pending().await,
    }
}
