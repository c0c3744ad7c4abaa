//! The addresses of one upstream as all its cores see them: the table, who says what is in it, and who is told when it changes. Must
//! never hold a connection: those belong to cores.

use std::sync::Arc;

use tokio::sync::Notify;

use super::clock::{self, Dice};
use super::resolver::{Membership, Resolver};
use crate::stats::AddressStats;
use crate::upstream::{Address, Balancer, Endpoint, Place, Table};

/// Belongs to one upstream, and to no core.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) table: Table,
    /// Told when an address may be of use that was not.
    pub(crate) changed: Notify,
    endpoint: Endpoint,
    membership: Membership,
}

impl Addresses {
    /// Those of `endpoint`, as `resolver` says and goes on saying.
    pub(crate) fn new(balancer: Balancer, endpoint: &Endpoint, resolver: &mut Resolver) -> Self {
        let membership = resolver.watch(endpoint);
        let table = Table::new(balancer, clock::now());
        let addresses = Self { table, changed: Notify::new(), endpoint: endpoint.clone(), membership };
        addresses.update(&Dice::new());
        addresses
    }

    /// What is dialled, as it was configured.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The addresses as they are now.
    pub(crate) fn update(&self, dice: &Dice) -> Arc<[Arc<Address>]> {
        let places = || match &self.endpoint {
            Endpoint::Unix(_) | Endpoint::Abstract(_) => vec![Place::Socket(self.endpoint.to_string())],
            _ => self.membership.current().iter().copied().map(Place::Tcp).collect(),
        };
        self.table.update(places, || dice.roll())
    }

    /// Who tells that there are other addresses than before.
    pub(crate) fn membership(&self) -> Membership {
        self.membership.clone()
    }

    /// An address has failed: perhaps the name stands for others by now.
    pub(crate) fn look_again(&self) {
        self.membership.refresh();
    }

    pub(crate) fn stats(&self) -> Vec<AddressStats> {
        let stats = |address: &Arc<Address>| AddressStats {
            address: address.place().to_string(),
            is_up: !address.is_down(),
            calls: address.calls() as u64,
            answered: address.answered_total(),
            failures: address.failed_total(),
            bytes_max: address.bytes_max(),
        };
        self.table.addresses().iter().map(stats).collect()
    }
}
