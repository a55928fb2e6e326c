//! A WebSocket relay that knows nothing of Yjs: the floor of what a server can cost.
//!
//! It passes each frame of a room on to the others in it, encoded once and shared. With a delay it joins what a room collects
//! into one frame for everybody, which shows what coalescing alone is worth; only this load generator reads such frames.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use ydash_proto::wire::websocket::{Opcode, header};

use crate::connection::{self, Connection, Receiver};

type Rooms = Rc<RefCell<HashMap<String, Rc<Room>>>>;

#[derive(Debug, Default)]
struct Room {
    peers: RefCell<Vec<Rc<Connection>>>,
    /// What waits to be joined.
    collected: RefCell<Vec<u8>>,
}

struct Peer {
    rooms: Rooms,
    name: String,
    room: Rc<Room>,
    connection: Rc<Connection>,
    join: Option<Duration>,
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: &str, join: Option<Duration>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    eprintln!("relay on ws://{}", listener.local_addr().context("read the listening address")?);
    let rooms = Rooms::default();
    loop {
        let (stream, _) = listener.accept().await.context("accept a connection")?;
        let rooms = rooms.clone();
        tokio::task::spawn_local(async move {
            // Whoever fails to upgrade is gone, and nobody waits for an answer.
            let Ok((connection, name, behind)) = Connection::accept(stream).await else { return };
            let room = rooms.borrow_mut().entry(name.clone()).or_default().clone();
            room.peers.borrow_mut().push(connection.clone());
            let peer = Peer { rooms, name, room, connection: connection.clone(), join };
            connection::run(connection, behind, peer).await;
        });
    }
}

impl Receiver for Peer {
    fn message(&mut self, _: &Rc<Connection>, payload: &[u8], _: Instant) {
        let Some(delay) = self.join else {
            self.room.pass_on(payload, Some(&self.connection));
            return;
        };
        let mut collected = self.room.collected.borrow_mut();
        if collected.is_empty() {
            let room = self.room.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(delay).await;
                let collected = room.collected.take();
                room.pass_on(&collected, None);
            });
        }
        collected.extend_from_slice(payload);
    }

    fn closed(&mut self, _: Option<(Option<u16>, String)>) {
        let mut peers = self.room.peers.borrow_mut();
        peers.retain(|peer| !Rc::ptr_eq(peer, &self.connection));
        if peers.is_empty() {
            self.rooms.borrow_mut().remove(&self.name);
        }
    }
}

impl Room {
    fn pass_on(&self, payload: &[u8], author: Option<&Rc<Connection>>) {
        let (head, used) = header(Opcode::Binary, payload.len(), true, false);
        let frame = [&head[..used], payload].concat();
        for peer in self.peers.borrow().iter().filter(|peer| !author.is_some_and(|author| Rc::ptr_eq(peer, author))) {
            peer.send_encoded(&frame);
        }
    }
}
