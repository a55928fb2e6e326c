//! Rights that come and go while everybody works: what the node knows, what its room was told, and what must hold from then on.
//!
//! As on a node, a change becomes known first and is told to the room then. A newcomer brings the records that were known when it
//! asked, and some changes are told again when later ones are known already.

use crate::client::Client;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;
use ydash_proto::access::{Access, Admission, Asking, Capabilities, Known, Principal, Record, Records, decide};
use ydash_proto::id::{ClientId, Clock, DashboardId};
use ydash_proto::room::{Input, Room};
use ydash_proto::time::Timestamp;

/// The clients' rights.
pub(crate) struct Rights {
    /// By client, as they are written down.
    roles: Vec<Option<&'static str>>,
    /// As the node knows them.
    known: Records,
    /// As the room was told.
    applied: Records,
    /// How far each client's structs were taken while it might write.
    taken: BTreeMap<ClientId, Clock>,
}

impl Rights {
    /// Everybody has at first what they have at most.
    pub(crate) fn new(most: &[Access]) -> Rights {
        let none = Records::none(DashboardId::parse("acme/sales").expect("a name"));
        let roles = most.iter().map(|access| Some(role_of(*access))).collect();
        let mut rights = Rights { roles, known: none.clone(), applied: none, taken: BTreeMap::new() };
        rights.write_down();
        rights
    }

    fn write_down(&mut self) {
        let grants = self.roles.iter().enumerate().filter_map(|(client, role)| {
            role.map(|role| serde_json::json!({ "subject": format!("user:user{client}"), "role": role }))
        });
        let asked = serde_json::json!({ "grants": grants.collect::<Vec<_>>() });
        let record = Record::default().with_asked(&asked, false).expect("a record");
        let version = self.known.dashboard.version + 1;
        self.known.dashboard = Known { version, record: Arc::new(record) };
    }

    /// The admission of somebody who comes, with the records that the node knows at that moment.
    pub(crate) fn admission(&self, client: usize) -> Admission {
        let principal = user(client);
        let access = access(&principal, &self.known);
        Admission { principal, access, records: Some(Box::new(self.known.clone())), ..Admission::default() }
    }

    /// Says whether a client that asks to come in is let in.
    pub(crate) fn lets_in(&self, client: usize) -> bool {
        access(&user(client), &self.known).may(Capabilities::READ)
    }

    /// The changes that the room has to learn before somebody joins: those that came while it was being opened were not told to it.
    pub(crate) fn news(&self) -> Option<Input> {
        let is_behind = self.applied.dashboard.version < self.known.dashboard.version;
        is_behind.then(|| Input::AccessChanged { records: Box::new(self.known.clone()) })
    }

    /// Says whether somebody may do that, as far as the room was told.
    pub(crate) fn may(&self, principal: &Principal, wanted: Capabilities) -> bool {
        access(principal, &self.applied).may(wanted)
    }

    /// The room has taken an input.
    pub(crate) fn told(&mut self, records: Option<Records>) {
        if let Some(records) = records {
            self.applied.learn(records);
        }
    }

    /// Another room begins, with what it finds.
    pub(crate) fn opened(&mut self, room: &Room) {
        self.applied = Records::none(self.known.of.clone());
        for (client, clock) in room.clocks().iter() {
            let taken = self.taken.entry(client).or_default();
            *taken = clock.max(*taken);
        }
    }

    /// Something was taken: from nobody who may not write.
    pub(crate) fn took(&mut self, room: &Room, clients: &[Client]) {
        for (at, client) in clients.iter().enumerate() {
            let may_write = self.may(&user(at), Capabilities::WRITE);
            for id in [client.id, client.writes_as] {
                let (clock, taken) = (room.clocks().get(id), self.taken.entry(id).or_default());
                assert!(may_write || clock <= *taken, "client {at} ({id}) may not write: {clock} after {taken}");
                *taken = clock.max(*taken);
            }
        }
    }

    /// Nobody sits in the room who may not read: what it sends goes to its seats alone.
    pub(crate) fn check_seats(&self, clients: impl Iterator<Item = usize>) {
        for client in clients {
            assert!(self.may(&user(client), Capabilities::READ), "client {client} may not read and is still there");
        }
    }
}

fn role_of(access: Access) -> &'static str {
    if access.may_edit() { "editor" } else { "viewer" }
}

pub(crate) fn user(client: usize) -> Principal {
    Principal::user(&format!("user{client}"))
}

fn access(principal: &Principal, records: &Records) -> Access {
    decide(&Asking { principal, given: Access::NONE, address: None }, records, Timestamp(0)).access
}

/// The records that an input brings.
pub(crate) fn records_in(input: &Input) -> Option<Records> {
    match input {
        Input::AccessChanged { records } => Some((**records).clone()),
        Input::Joined(joining) => joining.admission.records.as_deref().cloned(),
        Input::Write { author, .. } => author.records.as_deref().cloned(),
        _ => None,
    }
}

impl World {
    /// Somebody's role is lowered, raised or taken away.
    pub(crate) fn change_rights(&mut self) {
        let client = self.rng.index(self.clients.len());
        let most = role_of(self.clients[client].manners.access);
        let roles = [None, Some("viewer"), Some(most), Some(most)];
        let role = roles[self.rng.index(roles.len())];
        let before = self.rights_mut().known.clone();
        self.rights_mut().roles[client] = role;
        self.rights_mut().write_down();
        self.tell_rights();
        if self.rng.chance(20) {
            // Heard once more, when it is not true any more.
            self.tell(Input::AccessChanged { records: Box::new(before) });
        }
    }

    /// Everybody gets back what they had.
    pub(crate) fn restore_rights(&mut self) {
        let most = self.clients.iter().map(|client| Some(role_of(client.manners.access))).collect();
        self.rights_mut().roles = most;
        self.rights_mut().write_down();
        self.tell_rights();
    }

    fn tell_rights(&mut self) {
        let records = Box::new(self.rights_mut().known.clone());
        self.tell(Input::AccessChanged { records });
    }

    fn rights_mut(&mut self) -> &mut Rights {
        self.rights.as_mut().expect("rights that change")
    }
}
