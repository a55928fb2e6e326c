//! Edits from JSON: the document is read, changed as asked, compared, and what comes of it goes through the room like anybody's edit.
//!
//! Reading and comparing run where documents are read for REST, in turns by address, never in the room's task. One edit of a
//! dashboard is made at a time, up to when the room has taken it; then the next one begins, while the first becomes durable.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::time::timeout;
use tracing::debug;
use ydash_proto::access::Admission;
use ydash_proto::document::edit::{
    Change, EDITED_JSON_BYTES_MAX, Edit, OpenError, Pen, Place, Present, changes, parse, parse_lenient, removes_much,
};
use ydash_proto::document::{self, TreeError, from_json};
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::room::{Scanned, WriteRefusal};
use ydash_proto::update::{self, EMPTY_UPDATE, StateVector};

use super::pens::pen_for;
use super::{DURABLE_WITHIN, QUICK_BYTES_MAX, QUICK_STEPS_MAX, Rest, TURN_WITHIN};
use crate::http::{Body, CREATE_BYTES_MAX, EditError, Edited, Etag, Outcome, ReadError, Shown, Wish, WriteError};
use crate::ledger::network;
use crate::room::WriteError as RoomWriteError;

/// How often an edit is made anew because somebody else wrote under its client id.
const ATTEMPTS: usize = 3;

/// What a wish comes to, before anything is written.
struct Prepared {
    scanned: Scanned,
    pen: Pen,
    /// Where the pen stands when it was taken.
    pen_after: Pen,
    /// It is for a dashboard without content.
    begins: bool,
    /// It removes much: the present content is first kept as a version.
    removes_much: bool,
    edited: Edited,
    /// What the document shows then.
    text: Option<(Etag, Bytes)>,
}

impl Rest {
    /// What a place of a dashboard shows.
    pub(super) async fn look(self, dashboard: DashboardId, caller: IpAddr, place: Place) -> Result<Shown, EditError> {
        let whole = self.json(&dashboard, network(caller)).await?;
        if place == Place::Whole {
            return Ok(whole);
        }
        let turn = self.quick.take(network(caller), TURN_WITHIN).await.map_err(|_| ReadError::Busy)?;
        let looked = turn.run(false, move || {
            let shown = parse_lenient(&whole.json).map_err(|_| EditError::NotEditable)?;
            let part = place.look(&shown)?.ok_or(EditError::NothingThere)?;
            Ok(Shown { etag: etag_of(&part), json: part.to_string().into() })
        });
        looked.await.map_err(|_| ReadError::Unreadable)?
    }

    /// Makes of a dashboard what is wished, and returns when that is durable.
    pub(super) async fn edit(
        self,
        dashboard: DashboardId,
        author: Admission,
        caller: IpAddr,
        wish: Wish,
    ) -> Result<Edited, EditError> {
        let base = match wish.base {
            Some(etag) => self.bases().get(&dashboard, etag),
            None => None,
        };
        let wish = Arc::new(wish);
        let (mut attempts, mut is_dear, mut is_kept) = (0, false, false);
        while attempts < ATTEMPTS {
            attempts += 1;
            let mut turn = self.pens.take(&dashboard, TURN_WITHIN).await.map_err(|_| ReadError::Busy)?;
            let room = self.open(&dashboard).await.map_err(ReadError::from)?;
            let state = room.read(StateVector::default()).await.map_err(|_| ReadError::Unavailable)?;
            is_dear |= state.len() > QUICK_BYTES_MAX;
            let (turns, steps_max) = if is_dear { (&self.dear, u64::MAX) } else { (&self.making, QUICK_STEPS_MAX) };
            let place = turns.take(network(caller), TURN_WITHIN).await.map_err(|_| ReadError::Busy)?;
            let (last, wish, base, limits) = (*turn, Arc::clone(&wish), base.clone(), self.limits.clone());
            self.metrics.documents_read.inc();
            let work = move || match Present::read_within(&state, steps_max) {
                Err(OpenError::Read(document::ReadError::Tree(TreeError::TooCostly))) if !is_dear => None,
                read => Some(read.map_err(not_editable).and_then(|present| {
                    let is_there = *state != EMPTY_UPDATE;
                    prepare(&present, is_there, &wish, base.as_ref(), last, &limits)
                })),
            };
            let Some(prepared) = place.run(is_dear, work).await.map_err(|_| ReadError::Unreadable)? else {
                // It takes more steps than there are for what is quick: once more, where that disturbs nobody.
                (attempts, is_dear) = (attempts - 1, true);
                continue;
            };
            let Prepared { scanned, pen, pen_after, begins, removes_much, edited, text } = prepared?;
            if edited.is_dry_run {
                return Ok(edited);
            }
            if removes_much && !is_kept {
                self.keep_before(&dashboard, &author).await.map_err(|_| WriteError::Unavailable)?;
                is_kept = true;
            }
            // Whatever comes next, this id is not used again before the room has said what became of it.
            *turn = None;
            let taken = match room.edit(author.clone(), scanned, pen, begins).await {
                Ok(taken) => taken,
                Err(RoomWriteError::Refused(
                    WriteRefusal::PenTaken | WriteRefusal::Differs | WriteRefusal::Hole | WriteRefusal::Exists,
                )) => {
                    debug!(%dashboard, "an edit is made again: somebody else was faster");
                    continue;
                }
                Err(refused) => {
                    if let RoomWriteError::Refused(_) = refused {
                        *turn = Some(pen);
                    }
                    return Err(self.refused(refused).into());
                }
            };
            *turn = Some(pen_after);
            drop(turn);
            return match timeout(DURABLE_WITHIN, taken.durable()).await {
                Ok(Ok(())) => {
                    if let Some((etag, text)) = text {
                        self.bases().put(Instant::now(), &dashboard, etag, &text);
                    }
                    Ok(edited)
                }
                Ok(Err(refused)) => Err(self.refused(refused).into()),
                Err(_) => Err(WriteError::Unavailable.into()),
            };
        }
        Err(WriteError::Unavailable.into())
    }
}

/// What is said of values that nest deeper than `any_depth_max` or shared types that do.
const TOO_DEEP: &str = "values would be nested too deep";

fn not_editable(why: OpenError) -> EditError {
    debug!(%why, "a document is not edited as json");
    EditError::NotEditable
}

/// Makes the edit that is wished of what a document shows.
fn prepare(
    present: &Present<'_>,
    is_there: bool,
    wish: &Wish,
    base: Option<&Bytes>,
    last: Option<Pen>,
    limits: &Limits,
) -> Result<Prepared, EditError> {
    let Wish { place, body, conditions, is_dry_run, .. } = wish;
    let shown = present.shown();
    let is_begun = matches!((place, body), (Place::Whole, Body::Put(_)));
    let here = if is_there { place.look(shown)? } else { None };
    let etag = here.as_ref().map(|here| etag_at(place, here));
    conditions.check(etag)?;
    if !is_there && !is_begun {
        return Err(EditError::NotFound);
    }
    let change = match body {
        Body::Put(text) => Change::Put(parse(text)?),
        Body::Merge(text) => Change::Merge(parse(text)?),
        Body::Patch(text) => Change::Patch(parse(text)?),
        Body::Remove => Change::Remove,
    };
    let change = match (change, wish.base) {
        (Change::Put(theirs), Some(base_etag)) => {
            let base = match base {
                Some(text) => parse_lenient(text).map_err(|_| EditError::BaseUnknown)?,
                None if etag == Some(base_etag) => shown.clone(),
                None => return Err(EditError::BaseUnknown),
            };
            if !theirs.is_object() {
                return Err(EditError::Edit(ydash_proto::document::edit::EditError::NotAnObject));
            }
            Change::Put(present.merge(&base, &theirs))
        }
        (change, _) => change,
    };
    let target = place.change(shown, change)?;
    let pen = pen_for(last, present);
    let Edit { update, clocks } = match body {
        Body::Put(text) if !is_there => begin(text, pen)?,
        _ => present.edit(&target, pen)?,
    };
    let update = Bytes::from(update);
    let after = place.look(&target)?;
    let outcome = match (&here, *update == EMPTY_UPDATE) {
        // An object of empty roots leaves no trace in a dashboard that nobody has written to.
        (_, true) => Outcome::Unchanged,
        (None, _) => Outcome::Created,
        _ => Outcome::Changed,
    };
    let text = (*place == Place::Whole && !is_dry_run).then(|| target.to_string());
    let text = text.filter(|text| text.len() <= EDITED_JSON_BYTES_MAX);
    let etag = after.as_ref().map(|after| etag_at(place, after));
    let scan = update::scan(&update, limits).map_err(|_| WriteError::Limit(TOO_DEEP))?;
    let removes_much = outcome == Outcome::Changed && removes_much(shown, &target);
    Ok(Prepared {
        pen_after: Pen { clock: pen.clock + clocks, ..pen },
        edited: Edited {
            outcome,
            etag,
            is_dry_run: *is_dry_run,
            changes: if *is_dry_run { changes(shown, &target) } else { Vec::new() },
            bytes: update.len(),
        },
        scanned: Scanned { scan, update, frame: None },
        pen,
        begins: !is_there,
        removes_much,
        text: etag.zip(text.map(Bytes::from)),
    })
}

/// A new dashboard. yrs writes it: nothing of it came from a peer.
fn begin(text: &Bytes, pen: Pen) -> Result<Edit, EditError> {
    if text.len() > CREATE_BYTES_MAX {
        return Err(EditError::CreateTooLarge);
    }
    let client = u32::try_from(pen.client).expect("ids are drawn from 32 bits");
    let update = from_json(text, client)?;
    let clocks = update::scan(&update, &Limits::default()).map_err(|_| WriteError::Limit(TOO_DEEP))?;
    Ok(Edit { clocks: clocks.spans.first().map_or(0, |span| span.end), update })
}

fn etag_at(place: &Place, value: &Value) -> Etag {
    match (place, value) {
        (Place::Whole, Value::Object(roots)) => etag_of_roots(roots),
        _ => etag_of(value),
    }
}

/// The version of a document: roots that are empty are as if they were not there, because they stay when they are removed.
pub(super) fn etag_of_roots(roots: &Map<String, Value>) -> Etag {
    let is_empty = |value: &Value| match value {
        Value::Object(entries) => entries.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    let mut digest = Etag::begin();
    for (name, root) in roots.iter().filter(|(_, root)| !is_empty(root)) {
        digest.add(&Value::from(name.as_str()));
        digest.add(root);
    }
    digest.finish()
}

fn etag_of(value: &Value) -> Etag {
    let mut digest = Etag::begin();
    digest.add(value);
    digest.finish()
}
