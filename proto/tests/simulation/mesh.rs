//! What clients tell each other beside the server: in a mesh, or as two connections of one page.

use crate::account::Edit;
use crate::cast::{Template, spare};
use crate::client::Client;
use crate::world::{Event, World};
use bytes::Bytes;
use std::collections::VecDeque;
use ydash_proto::update::StateVector;
use ydash_proto::wire::encode;

/// What one member of a mesh says to another.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    /// "This is what I have."
    Have(StateVector),
    Update(Bytes),
}

/// From where a document changed. A provider passes on what did not come by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its user, or a template.
    Own,
    Server,
    Mesh,
    Twin,
}

pub(crate) type Link = VecDeque<(u64, Word)>;

impl World {
    /// A document has changed: its providers pass it on.
    pub(crate) fn changed(&mut self, client: usize, update: &Bytes, origin: Origin) {
        let manners = self.clients[client].manners;
        if origin == Origin::Own && !manners.is_hostile && manners.access.may_edit() {
            let pieces = self.clients[client].contents.add(update);
            self.account.push(Edit { author: client, made_at: self.now, pieces, is_told: false });
        }
        if origin != Origin::Server {
            self.clients[client].unsynced += 1;
            self.say(client, encode::update(update));
        }
        if origin != Origin::Mesh {
            for peer in self.mesh_peers(client) {
                self.whisper(client, peer, Word::Update(update.clone()));
            }
        }
        if origin != Origin::Twin
            && let Some(twin) = self.parts[client].twin
        {
            self.apply(twin, update, Origin::Twin);
        }
        self.strand(client, update);
    }

    /// A client applies an update, and its providers hear of it.
    pub(crate) fn apply(&mut self, client: usize, update: &Bytes, origin: Origin) {
        for change in self.clients[client].apply(update) {
            self.changed(client, &change, origin);
        }
    }

    /// A page comes with content of its own: always the same structs.
    pub(crate) fn fill_in(&mut self, client: usize, when: Template) {
        if self.parts[client].template == Some(when) && !self.clients[client].manners.is_hostile {
            let which = self.rng.index(2);
            self.parts[client].template = None;
            let template = self.templates[which].clone();
            self.apply(client, &template, Origin::Own);
        }
    }

    fn mesh_peers(&self, client: usize) -> Vec<usize> {
        let Some(mesh) = self.parts[client].mesh.filter(|_| self.is_meshed[client]) else { return Vec::new() };
        (0..self.clients.len())
            .filter(|&peer| peer != client && self.parts[peer].mesh == Some(mesh) && self.is_meshed[peer])
            .collect()
    }

    fn whisper(&mut self, from: usize, to: usize, word: Word) {
        let delay = if self.is_calm { 5 } else { self.rng.spread(1, 400) };
        let link = self.links.entry((from, to)).or_default();
        let at = link.back().map_or(0, |(at, _)| *at).max(self.now + delay);
        link.push_back((at, word));
        self.at(at, Event::Whisper(from, to));
    }

    pub(crate) fn whispered(&mut self, from: usize, to: usize) {
        loop {
            let now = self.now;
            let Some(link) = self.links.get_mut(&(from, to)) else { return };
            if link.front().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let Some((_, word)) = link.pop_front() else { return };
            match word {
                Word::Have(have) => {
                    let update = self.clients[to].difference(&have.encode());
                    self.whisper(to, from, Word::Update(update));
                }
                Word::Update(update) => self.apply(to, &update, Origin::Mesh),
            }
        }
    }

    /// A member drops out of its mesh: what was on its way is gone.
    pub(crate) fn leave_mesh(&mut self, client: usize) {
        self.is_meshed[client] = false;
        self.links.retain(|(from, to), _| *from != client && *to != client);
    }

    /// It is back: it and each of the others ask for what they lack.
    pub(crate) fn join_mesh(&mut self, client: usize) {
        if self.parts[client].mesh.is_none()
            || self.clients[client].is_stranded
            || core::mem::replace(&mut self.is_meshed[client], true)
        {
            return;
        }
        for peer in self.mesh_peers(client) {
            let (own, theirs) = (self.clients[client].clocks(), self.clients[peer].clocks());
            self.whisper(client, peer, Word::Have(own));
            self.whisper(peer, client, Word::Have(theirs));
        }
    }

    /// Whether a document now holds what nobody else will: then its page lives on, but applies nothing until it is reloaded.
    pub(crate) fn strand(&mut self, client: usize, update: &[u8]) {
        if !self.clients[client].is_stranded && !self.clients[client].manners.is_hostile && self.came.differs(update) {
            self.stranded(client);
        }
    }

    pub(crate) fn stranded(&mut self, client: usize) {
        if self.trace {
            eprintln!("    client {client} is stranded");
        }
        self.clients[client].is_stranded = true;
        self.is_contested = true;
        self.leave_mesh(client);
    }

    /// The page is loaded anew, by a user who was told, or who looks.
    pub(crate) fn reload(&mut self, client: usize) {
        let both = [Some(client), self.parts[client].twin];
        let id = spare(self.next_life) + 255;
        let before = self.clients[client].id;
        if self.clients.iter().filter(|other| other.id == before).count() > 1 {
            self.shared.insert(before);
        }
        for client in both.into_iter().flatten() {
            self.drop_socket(client);
            self.leave_mesh(client);
            let manners = self.clients[client].manners;
            self.clients[client] = Client::new(id, spare(self.next_life), manners, self.now);
            self.next_life += 1;
            self.parts[client].copy_of = None;
            for edit in self.account.iter_mut().filter(|edit| edit.author == client) {
                edit.is_told = true;
            }
        }
    }

    /// A second device with the same number begins, or a copy of a machine.
    pub(crate) fn wake_copy(&mut self, client: usize) {
        let Some(original) = self.parts[client].copy_of else { return };
        self.is_dormant[client] = false;
        if self.parts[client].has_image
            && let Some(image) = self.images[original].clone()
            && !self.clients[original].is_stranded
        {
            // No update of its own: the page begins with it.
            self.clients[client].restore(&image);
            self.strand(client, &image);
        }
        self.after(0, Event::Connect(client));
    }
}
