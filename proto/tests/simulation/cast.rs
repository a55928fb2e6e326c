//! Who plays in a history, and in which relation to whom.

use crate::client::{Client, Manners, template};
use crate::rng::Rng;
use bytes::Bytes;
use ydash_proto::access::Access;
use ydash_proto::id::ClientId;
use ydash_proto::room::Dialect;

/// What kind of history is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    /// Clients, each with an id of its own and some with bad intentions, in rough weather.
    Weather,
    /// Honest ones who relay, share and come twice.
    Honest,
    /// The same, with squatters and forgers among them.
    Hostile,
    /// Rough weather, in which rights come and go.
    Revoking,
}

/// One client's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// It exchanges updates directly with those who have the same number.
    pub(crate) mesh: Option<usize>,
    /// Two connections of one page around one document; the second one is forgotten, and nobody edits through it.
    pub(crate) twin: Option<usize>,
    /// A copy of that client's machine, or a second device with the same number. It begins when it acts first.
    pub(crate) copy_of: Option<usize>,
    /// Whether a copy begins with what the original had at some time.
    pub(crate) has_image: bool,
    /// It begins with a template, before it connects or once it is in sync.
    pub(crate) template: Option<Template>,
    /// It announces somebody else's id as its own.
    pub(crate) squats: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Before,
    Synced,
}

/// Everybody, and the templates that they share: a short one and what has become of it.
pub(crate) struct Cast {
    pub(crate) clients: Vec<Client>,
    pub(crate) parts: Vec<Part>,
    pub(crate) templates: [Bytes; 2],
    /// Several sessions may write under one id.
    pub(crate) shares_ids: bool,
    pub(crate) few_authors: bool,
}

/// Ids that are nobody's at the beginning: so many for each life of a client.
const SPARE: ClientId = 0xa000_0000;

pub(crate) fn spare(life: u64) -> ClientId {
    SPARE + life * 256
}

fn id(rng: &mut Rng) -> ClientId {
    match rng.below(3) {
        0 => 1 + rng.below(200),
        1 => rng.next() & 0xffff_ffff,
        _ => rng.next() & ((1 << 53) - 1),
    }
}

pub(crate) fn weather(seed: u64, rng: &mut Rng) -> Cast {
    let mut clients: Vec<Client> = Vec::new();
    let many = rng.chance(10);
    let count = if many { 12 } else { 2 + rng.index(5) };
    // Drawn, so that seeds stay what they were; what a forger does is for histories of their own.
    let has_hostile = rng.chance(0);
    for n in 0..count {
        let id = id(rng);
        if clients.iter().any(|other| other.id == id) {
            continue;
        }
        let is_hostile = n == 1 && has_hostile;
        let access = if n > 1 && rng.chance(20) { Access::VIEWER } else { Access::EDITOR };
        let is_aware = is_hostile || rng.chance(85);
        // Not drawn from the stream that everything else is drawn from: seeds that once found something stay what they were.
        let dialect = dialect(seed + n as u64);
        let manners = Manners {
            access,
            dialect,
            wants_acks: rng.chance(60) || dialect != Dialect::YWebsocket,
            echoes: rng.chance(80) && dialect != Dialect::Hocuspocus { echoes: false },
            is_aware,
            is_shown: is_aware && (is_hostile || rng.chance(80)),
            edits: access.may_edit() || rng.chance(50),
            is_hostile,
        };
        clients.push(Client::new(id, spare(n as u64), manners, 0));
    }
    Cast {
        parts: vec![Part::default(); clients.len()],
        clients,
        templates: [template(1), template(4)],
        shares_ids: false,
        few_authors: count <= 8,
    }
}

/// Some two to four groups of clients: meshes, shared numbers, twice mounted pages, and those who just come and go.
pub(crate) fn identities(play: Play, rng: &mut Rng) -> Cast {
    let mut cast = Cast {
        clients: Vec::new(),
        parts: Vec::new(),
        templates: [template(1), template(4)],
        shares_ids: false,
        few_authors: true,
    };
    let template_chance = if rng.chance(30) { 60 } else { 0 };
    for group in 0..2 + rng.index(3) {
        match rng.below(4) {
            0 => {
                for n in 0..2 + rng.index(2) {
                    // Who only reads passes on what others wrote.
                    let edits = n == 0 || rng.chance(60);
                    let part = Part { mesh: Some(group), ..Part::default() };
                    cast.add(rng, None, edits, part, template_chance);
                }
            }
            1 => {
                let shared = id(rng);
                let first = cast.add(rng, Some(shared), true, Part::default(), template_chance);
                for _ in 0..1 + rng.index(2) {
                    let edits = rng.chance(80);
                    let part = Part { copy_of: Some(first), has_image: rng.chance(40), ..Part::default() };
                    cast.add(rng, Some(shared), edits, part, 0);
                }
                cast.shares_ids = true;
            }
            2 => {
                let mounted = id(rng);
                let mesh = rng.chance(30).then_some(group);
                let page = cast.add(rng, Some(mounted), true, Part { mesh, ..Part::default() }, template_chance);
                let again = cast.add(rng, Some(mounted), false, Part { twin: Some(page), ..Part::default() }, 0);
                cast.parts[page].twin = Some(again);
            }
            _ => _ = cast.add(rng, None, true, Part::default(), template_chance),
        }
    }
    if play == Play::Hostile {
        for _ in 0..1 + rng.index(2) {
            let squats = rng.chance(50);
            let at = cast.add(rng, None, true, Part { squats, ..Part::default() }, 0);
            let manners = &mut cast.clients[at].manners;
            (manners.is_hostile, manners.is_aware, manners.is_shown) = (true, true, !squats);
        }
    }
    cast.few_authors = cast.clients.len() <= 8;
    cast
}

impl Cast {
    fn add(&mut self, rng: &mut Rng, shared: Option<ClientId>, edits: bool, part: Part, template_chance: u64) -> usize {
        let at = self.clients.len();
        let mut own = shared.unwrap_or_else(|| id(rng));
        if shared.is_none() && self.clients.iter().any(|other| other.id == own) {
            own = (1 << 52) + at as u64;
        }
        let dialect = dialect(rng.next());
        let is_aware = rng.chance(90);
        let manners = Manners {
            access: Access::EDITOR,
            dialect,
            wants_acks: rng.chance(60) || dialect != Dialect::YWebsocket,
            echoes: rng.chance(80) && dialect != Dialect::Hocuspocus { echoes: false },
            is_aware,
            is_shown: is_aware && rng.chance(85),
            edits,
            is_hostile: false,
        };
        let begins = |rng: &mut Rng| if rng.chance(50) { Template::Before } else { Template::Synced };
        let template = rng.chance(template_chance).then(|| begins(rng));
        self.clients.push(Client::new(own, spare(at as u64), manners, 0));
        self.parts.push(Part { template, ..part });
        at
    }
}

fn dialect(n: u64) -> Dialect {
    match n % 5 {
        0 => Dialect::Hocuspocus { echoes: true },
        1 => Dialect::Hocuspocus { echoes: false },
        _ => Dialect::YWebsocket,
    }
}
