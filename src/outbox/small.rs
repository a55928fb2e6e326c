//! Small frames leave as one copied piece, which costs the kernel the least.

use bytes::Bytes;
use std::cell::RefCell;
use std::io;
use tokio::net::tcp::OwnedWriteHalf;
use ydash_proto::session::Item;
use ydash_proto::wire::encode;
use ydash_proto::wire::websocket::{Opcode, header};

/// Up to so many bytes leave as one piece. Below what is worth compressing.
const SMALL_BYTES: usize = 8 << 10;

thread_local! {
    static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes a binary message behind its address if it is small. `None` when it is not, otherwise what the socket did not take.
///
/// # Errors
/// The socket takes nothing now (`WouldBlock`), or is gone.
pub(super) fn write_frame(socket: &OwnedWriteHalf, address: &[u8], payload: &[u8]) -> Option<io::Result<Bytes>> {
    if payload.len() > SMALL_BYTES {
        return None;
    }
    PIECE.with_borrow_mut(|piece| {
        piece.clear();
        put(piece, Opcode::Binary, address, payload);
        Some(socket.try_write(piece).map(|written| Bytes::copy_from_slice(&piece[written..])))
    })
}

/// Writes items if they are small together. `None` when they are not, otherwise what the socket did not take.
///
/// # Errors
/// The socket is gone.
pub(crate) fn write_items(socket: &OwnedWriteHalf, items: &[Item]) -> Option<io::Result<Bytes>> {
    PIECE.with_borrow_mut(|piece| {
        piece.clear();
        let mut behind: &[u8] = &[];
        for item in items {
            let address = core::mem::take(&mut behind);
            match item {
                Item::Rest(bytes) => piece.extend_from_slice(bytes),
                Item::Behind(address) => behind = address,
                Item::Frame(frame) if frame.bytes.len() <= SMALL_BYTES => {
                    put(piece, Opcode::Binary, address, &frame.bytes);
                }
                Item::Frame(_) => return None,
                Item::Said(message) => put(piece, Opcode::Binary, &[], message),
                Item::Acks { saved, count } => {
                    let ack = encode::sync_status(*saved);
                    for _ in 0..(*count).min(SMALL_BYTES as u32) {
                        put(piece, Opcode::Binary, address, &ack);
                    }
                }
                Item::Ping => put(piece, Opcode::Ping, &[], &[]),
                Item::Pong(payload) => put(piece, Opcode::Pong, &[], payload),
            }
            if piece.len() > SMALL_BYTES {
                return None;
            }
        }
        Some(match socket.try_write(piece) {
            Ok(written) => Ok(Bytes::copy_from_slice(&piece[written..])),
            Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::copy_from_slice(piece)),
            Err(failure) => Err(failure),
        })
    })
}

fn put(piece: &mut Vec<u8>, opcode: Opcode, address: &[u8], payload: &[u8]) {
    let (header, len) = header(opcode, address.len() + payload.len(), true, false);
    piece.extend_from_slice(&header[..len]);
    piece.extend_from_slice(address);
    piece.extend_from_slice(payload);
}
