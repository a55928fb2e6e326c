//! What is written down about a dashboard or a workspace: grants, links, invitations, and whether it is restricted.

use super::condition::Conditions;
use super::grant::{Grant, GrantError, is_name};
use super::moment;
use super::role::Role;
use crate::time::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Grants in one record.
pub const RECORD_GRANTS_MAX: usize = 500;
/// Links in one record, and invitations.
pub const RECORD_LINKS_MAX: usize = 200;
/// Users that are blocked on a server.
pub const BLOCKED_MAX: usize = 10_000;
/// The most visitors that a link may be bound to.
pub const LINK_USES_MAX: usize = 1000;
/// The most origins that a link may be bound to.
pub const LINK_ORIGINS_MAX: usize = 20;
/// What somebody calls a link.
pub const LABEL_CHARS_MAX: usize = 100;

/// The version of the format. What a later one may have added could be a condition, so nothing of it counts.
const FORMAT: u64 = 1;

/// What is written down about a dashboard or a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Whether the workspace's grants count for this dashboard. Of a dashboard's record.
    pub restricted: bool,
    /// At most [`RECORD_GRANTS_MAX`].
    pub grants: Vec<Entry>,
    /// At most [`RECORD_LINKS_MAX`]. Of a dashboard's record.
    pub links: Vec<ShareLink>,
    /// At most [`RECORD_LINKS_MAX`].
    pub invitations: Vec<Invitation>,
}

/// A grant, or what a later version of ydash takes for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A grant.
    Grant(Grant),
    /// It gives nothing, and is kept as it is.
    Unknown {
        /// As it was read.
        value: Value,
        /// What is not understood.
        why: GrantError,
    },
}

/// A link that opens one dashboard to whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareLink {
    /// Its public half.
    pub id: Arc<str>,
    /// SHA-256 of its secret half, which nobody keeps.
    pub secret: [u8; 32],
    /// Never [`Role::Owner`].
    pub role: Role,
    /// When and from where.
    pub when: Conditions,
    /// The origins whose pages may use it, at most [`LINK_ORIGINS_MAX`]; if empty, anybody may.
    pub origins: Vec<Arc<str>>,
    /// The most visitors that it lets in, at most [`LINK_USES_MAX`]; `None` for any number.
    pub uses_max: Option<usize>,
    /// Marks of the visitors that it let in, if they are counted: see [`ShareLink::takes`].
    pub uses: Vec<u64>,
    /// For those who manage it.
    pub label: Arc<str>,
    /// Who made it; empty for somebody without a name.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// A grant that waits for whoever has its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its public half.
    pub id: Arc<str>,
    /// SHA-256 of its secret half.
    pub secret: [u8; 32],
    /// What accepting it gives.
    pub role: Role,
    /// Until when it can be accepted.
    pub not_after: Timestamp,
    /// Who may accept it: whoever's token says that this address is verified.
    pub email: Option<Arc<str>>,
    /// Who made it.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// Why a value is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not an object with these fields.
    #[error("access is an object with the fields grants and restricted")]
    Fields,
    /// A workspace cannot be restricted.
    #[error("restricted is true or false, and of a dashboard")]
    Restricted,
    /// Too many.
    #[error("a record has at most {RECORD_GRANTS_MAX} grants")]
    TooMany,
    /// One of the grants.
    #[error("grant {at}: {error}")]
    Grant {
        /// Which, beginning with 0.
        at: usize,
        /// What is wrong with it.
        error: GrantError,
    },
    /// What is stored is not understood: a later version of ydash wrote it, or somebody by hand.
    #[error("the record is not understood: {0}")]
    NotUnderstood(&'static str),
}

impl Record {
    /// What somebody asks for: `{"grants": […], "restricted": false}`. Replaces grants and restriction; links and invitations stay.
    ///
    /// # Errors
    /// [`RecordError`] – names what is wrong; nothing is taken.
    pub fn with_asked(self, asked: &Value, in_workspace: bool) -> Result<Record, RecordError> {
        let mut fields = asked.as_object().ok_or(RecordError::Fields)?.clone();
        let restricted = match fields.remove("restricted") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) if !in_workspace => true,
            Some(_) => return Err(RecordError::Restricted),
        };
        let Some(Value::Array(asked)) = fields.remove("grants") else { return Err(RecordError::Fields) };
        if !fields.is_empty() {
            return Err(RecordError::Fields);
        }
        if asked.len() > RECORD_GRANTS_MAX {
            return Err(RecordError::TooMany);
        }
        let mut grants: Vec<Entry> = Vec::with_capacity(asked.len());
        for (at, value) in asked.iter().enumerate() {
            let entry = match Grant::parse(value, in_workspace) {
                Ok(grant) => Entry::Grant(grant),
                // One that is there already may stay, whatever it says: who changes another one need not understand it.
                Err(_)
                    if self
                        .grants
                        .iter()
                        .any(|kept| matches!(kept, Entry::Unknown { value: kept, .. } if kept == value)) =>
                {
                    Entry::unknown(value.clone(), in_workspace)
                }
                Err(error) => return Err(RecordError::Grant { at, error }),
            };
            if !grants.contains(&entry) {
                grants.push(entry);
            }
        }
        Ok(Record { restricted, grants, ..self })
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// [`RecordError::NotUnderstood`] – nobody is to be let in by it, and it must not be overwritten unseen.
    pub fn decode(stored: &[u8], in_workspace: bool) -> Result<Record, RecordError> {
        let lacks = RecordError::NotUnderstood;
        let value: Value = serde_json::from_slice(stored).map_err(|_| lacks("not JSON"))?;
        let Value::Object(mut fields) = value else { return Err(lacks("not an object")) };
        if fields.remove("format").as_ref().and_then(Value::as_u64) != Some(FORMAT) {
            return Err(lacks("its format is another one"));
        }
        let restricted = match fields.remove("restricted") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return Err(lacks("restricted is not true or false")),
        };
        let mut list = |name| match fields.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(entries)) => Ok(entries),
            Some(_) => Err(lacks("a list is none")),
        };
        let grants = list("grants")?.into_iter().map(|value| Entry::unknown(value, in_workspace)).collect();
        let links: Option<Vec<ShareLink>> = list("links")?.into_iter().map(ShareLink::decode).collect();
        let invitations: Option<Vec<Invitation>> = list("invitations")?.into_iter().map(Invitation::decode).collect();
        if !fields.is_empty() {
            return Err(lacks("it has an unknown field"));
        }
        Ok(Record {
            restricted,
            grants,
            links: links.ok_or(lacks("it has an unknown link"))?,
            invitations: invitations.ok_or(lacks("it has an unknown invitation"))?,
        })
    }

    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Map::new();
        fields.insert("format".to_owned(), FORMAT.into());
        fields.insert("restricted".to_owned(), self.restricted.into());
        fields.insert("grants".to_owned(), self.grants_json());
        fields.insert("links".to_owned(), self.links.iter().map(ShareLink::encode).collect());
        fields.insert("invitations".to_owned(), self.invitations.iter().map(Invitation::encode).collect());
        serde_json::to_vec(&fields).expect("values become JSON")
    }

    /// Its grants as they are read and asked for.
    #[must_use]
    pub fn grants_json(&self) -> Value {
        self.grants.iter().map(Entry::to_json).collect()
    }

    /// Whether nothing is written in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Record::default()
    }

    /// The grants that are understood.
    pub fn understood(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter_map(|entry| if let Entry::Grant(grant) = entry { Some(grant) } else { None })
    }

    /// A link by its id.
    #[must_use]
    pub fn link(&self, id: &str) -> Option<&ShareLink> {
        self.links.iter().find(|link| *link.id == *id)
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Record>() + self.grants.len() * 256 + self.links.len() * 384 + self.invitations.len() * 256
    }
}

impl Entry {
    fn unknown(value: Value, in_workspace: bool) -> Entry {
        match Grant::parse(&value, in_workspace) {
            Ok(grant) => Entry::Grant(grant),
            Err(why) => Entry::Unknown { value, why },
        }
    }

    /// As it was read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Entry::Grant(grant) => grant.to_json(),
            Entry::Unknown { value, .. } => value.clone(),
        }
    }
}

impl ShareLink {
    /// What those see who manage it: everything but the secret, which nobody has.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), (*self.id).into());
        fields.insert("role".to_owned(), self.role.as_str().into());
        self.when.put(&mut fields);
        for (name, text) in [("label", &self.label), ("by", &self.by)] {
            if !text.is_empty() {
                fields.insert(name.to_owned(), (**text).into());
            }
        }
        if !self.origins.is_empty() {
            fields.insert("origins".to_owned(), self.origins.iter().map(|origin| Value::from(&**origin)).collect());
        }
        if let Some(uses_max) = self.uses_max {
            fields.insert("uses_max".to_owned(), uses_max.into());
            fields.insert("uses".to_owned(), self.uses.len().into());
        }
        fields.insert("at".to_owned(), moment::format(self.at).into());
        Value::Object(fields)
    }

    /// Whether a page of that origin may use it.
    #[must_use]
    pub fn is_for(&self, origin: Option<&str>) -> bool {
        self.origins.is_empty() || origin.is_some_and(|origin| self.origins.iter().any(|one| **one == *origin))
    }

    /// How it takes the visitor with this mark; `None` if its uses are spent. A visitor who was counted may come back any number of times.
    #[must_use]
    pub fn takes(&self, mark: u64) -> Option<Taken> {
        match self.uses_max {
            None => Some(Taken::AsItIs),
            Some(_) if self.uses.contains(&mark) => Some(Taken::AsItIs),
            Some(uses_max) if self.uses.len() < uses_max => Some(Taken::Counted),
            Some(_) => None,
        }
    }

    /// Reads a request for a link: role, conditions, origins, uses, label. `None` when it is not understood.
    #[must_use]
    pub fn asked(asked: &Value, id: Arc<str>, secret: [u8; 32], by: Arc<str>, at: Timestamp) -> Option<ShareLink> {
        let mut fields = asked.as_object()?.clone();
        let role = fields.remove("role")?.as_str()?.parse().ok().filter(|role| *role < Role::Owner)?;
        let when = Conditions::take(&mut fields).ok()?;
        let origins = match fields.remove("origins") {
            None => Vec::new(),
            Some(Value::Array(origins)) if (1..=LINK_ORIGINS_MAX).contains(&origins.len()) => {
                let origin = |origin: Value| origin.as_str().filter(|origin| is_origin(origin)).map(Arc::from);
                origins.into_iter().map(origin).collect::<Option<_>>()?
            }
            Some(_) => return None,
        };
        let uses_max = match fields.remove("uses_max") {
            None => None,
            Some(uses) => {
                let uses = usize::try_from(uses.as_u64()?).ok()?;
                Some(uses).filter(|uses| (1..=LINK_USES_MAX).contains(uses)).map(Some)?
            }
        };
        let label = match fields.remove("label") {
            None => "".into(),
            Some(label) => {
                let is_label =
                    |label: &&str| label.chars().count() <= LABEL_CHARS_MAX && !label.chars().any(char::is_control);
                label.as_str().filter(is_label)?.into()
            }
        };
        let uses = Vec::new();
        fields.is_empty().then_some(ShareLink { id, secret, role, when, origins, uses_max, uses, label, by, at })
    }

    fn encode(&self) -> Value {
        let mut value = self.to_json();
        value["secret_sha256"] = hex(&self.secret).into();
        if self.uses_max.is_some() {
            value["uses"] = self.uses.iter().map(|mark| Value::from(format!("{mark:016x}"))).collect();
        }
        value
    }

    fn decode(value: Value) -> Option<ShareLink> {
        let Value::Object(mut fields) = value else { return None };
        let made = Made::take(&mut fields)?;
        let uses = match fields.remove("uses") {
            None => Vec::new(),
            Some(Value::Array(marks)) => {
                let mark = |mark: Value| u64::from_str_radix(mark.as_str()?, 16).ok();
                marks.into_iter().map(mark).collect::<Option<_>>()?
            }
            Some(_) => return None,
        };
        let link = ShareLink::asked(&Value::Object(fields), made.id, made.secret, made.by, made.at)?;
        Some(ShareLink { uses, ..link })
    }
}

/// How a link takes a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The link stays as it is.
    AsItIs,
    /// The visitor is one more of its uses.
    Counted,
}

/// `https://app.example.org`, as browsers say it: no path, no slash at the end.
fn is_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-:[]".contains(&c);
    (1..=255).contains(&host.len()) && host.bytes().all(is_plain)
}

impl Invitation {
    /// What those see who manage it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "id": *self.id,
            "role": self.role.as_str(),
            "not_after": moment::format(self.not_after),
            "at": moment::format(self.at),
        });
        if let Some(email) = &self.email {
            value["email"] = (**email).into();
        }
        if !self.by.is_empty() {
            value["by"] = (*self.by).into();
        }
        value
    }

    /// What somebody asks for: `role`, `not_after`, `email`. `None` when it is not understood.
    #[must_use]
    pub fn asked(asked: &Value, id: Arc<str>, secret: [u8; 32], by: Arc<str>, at: Timestamp) -> Option<Invitation> {
        let mut fields = asked.as_object()?.clone();
        let role = fields.remove("role")?.as_str()?.parse().ok()?;
        let not_after = moment::parse(fields.remove("not_after")?.as_str()?)?;
        let email = match fields.remove("email") {
            None => None,
            Some(email) => Some(email.as_str().filter(|email| is_name(email) && email.contains('@'))?.into()),
        };
        fields.is_empty().then_some(Invitation { id, secret, role, not_after, email, by, at })
    }

    fn encode(&self) -> Value {
        let mut value = self.to_json();
        value["secret_sha256"] = hex(&self.secret).into();
        value
    }

    fn decode(value: Value) -> Option<Invitation> {
        let Value::Object(mut fields) = value else { return None };
        let made = Made::take(&mut fields)?;
        Invitation::asked(&Value::Object(fields), made.id, made.secret, made.by, made.at)
    }
}

/// What is noted of a link or an invitation when it is made.
struct Made {
    id: Arc<str>,
    secret: [u8; 32],
    by: Arc<str>,
    at: Timestamp,
}

impl Made {
    fn take(fields: &mut Map<String, Value>) -> Option<Made> {
        let id = fields.remove("id")?.as_str()?.into();
        let secret = unhex(fields.remove("secret_sha256")?.as_str()?)?;
        let by = match fields.remove("by") {
            None => "".into(),
            Some(by) => by.as_str()?.into(),
        };
        let at = moment::parse(fields.remove("at")?.as_str()?)?;
        Some(Made { id, secret, by, at })
    }
}

/// Users who may do nothing on this server, whatever grants say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// By whom each was blocked, and when. At most [`BLOCKED_MAX`].
    pub users: BTreeMap<Arc<str>, (Arc<str>, Timestamp)>,
}

impl Blocked {
    /// Reads what is stored; `None` if it is not understood.
    #[must_use]
    pub fn decode(stored: &[u8]) -> Option<Blocked> {
        let value: Value = serde_json::from_slice(stored).ok()?;
        if value["format"].as_u64() != Some(FORMAT) {
            return None;
        }
        let user = |(user, made): (&String, &Value)| {
            let at = moment::parse(made["at"].as_str()?)?;
            Some((Arc::from(user.as_str()), (Arc::from(made["by"].as_str()?), at)))
        };
        let users = value["users"].as_object()?.iter().map(user).collect::<Option<_>>()?;
        Some(Blocked { users })
    }

    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let user = |(user, (by, at)): (&Arc<str>, &(Arc<str>, Timestamp))| {
            (user.to_string(), json!({ "by": **by, "at": moment::format(*at) }))
        };
        let users: Map<String, Value> = self.users.iter().map(user).collect();
        serde_json::to_vec(&json!({ "format": FORMAT, "users": users })).expect("values become JSON")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: Value) -> Result<Record, RecordError> {
        Record::default().with_asked(&value, false)
    }

    fn link(asked: Value) -> Option<ShareLink> {
        ShareLink::asked(&asked, "l1".into(), [7; 32], "ada".into(), Timestamp(5000))
    }

    fn full() -> Record {
        let record = asked(json!({
            "restricted": true,
            "grants": [{ "subject": "user:bob", "role": "viewer", "not_after": "2026-12-24T18:00:00Z" }],
        }));
        let link = link(json!({
            "role": "viewer", "label": "board",
            "not_after": "2026-12-24T18:00:00Z", "addresses": ["10.0.0.0/8"],
        }));
        let invitation = json!({ "role": "owner", "not_after": "2026-12-24T18:00:00Z", "email": "bob@example.org" });
        let invitation = Invitation::asked(&invitation, "i1".into(), [8; 32], "ada".into(), Timestamp(6000));
        Record { links: vec![link.unwrap()], invitations: vec![invitation.unwrap()], ..record.unwrap() }
    }

    #[test]
    fn a_record_is_read_as_it_was_stored() {
        for record in [Record::default(), full()] {
            assert_eq!(Record::decode(&record.encode(), false), Ok(record));
        }
        let mut blocked = Blocked::default();
        assert_eq!(Blocked::decode(&blocked.encode()), Some(blocked.clone()));
        blocked.users.insert("eve".into(), ("root".into(), Timestamp(1000)));
        assert_eq!(Blocked::decode(&blocked.encode()), Some(blocked));
    }

    /// Change this text only together with [`FORMAT`] and docs/AUTH.md.
    #[test]
    fn golden_record() {
        let record = asked(json!({ "grants": [{ "subject": "everyone", "role": "viewer" }] })).unwrap();
        assert_eq!(
            String::from_utf8(record.encode()).unwrap(),
            r#"{"format":1,"grants":[{"role":"viewer","subject":"everyone"}],"invitations":[],"links":[],"restricted":false}"#
        );
    }

    #[test]
    fn a_later_record_is_not_understood_and_a_later_grant_gives_nothing_and_stays() {
        for stored in [
            &br#"{"format":2,"grants":[]}"#[..],
            br#"{"format":1,"deny":[]}"#,
            br#"{"format":1,"restricted":"partly"}"#,
            br#"{"format":1,"links":[{"id":"l1"}]}"#,
            b"[]",
            b"",
        ] {
            assert!(Record::decode(stored, false).is_err());
        }
        let later = json!({ "subject": "robot:7", "role": "viewer" });
        let stored = json!({ "format": 1, "grants": [later] }).to_string();
        let record = Record::decode(stored.as_bytes(), false).unwrap();
        assert_eq!(record.understood().count(), 0);
        assert_eq!(Record::decode(&record.encode(), false), Ok(record.clone()));
        // It may stay in what is asked for, and not come from there.
        let kept = json!({ "grants": [later, { "subject": "user:bob", "role": "viewer" }] });
        assert_eq!(record.with_asked(&kept, false).unwrap().grants.len(), 2);
        assert_eq!(asked(kept), Err(RecordError::Grant { at: 0, error: GrantError::Subject }));
    }

    #[test]
    fn what_is_asked_for_replaces_grants_and_leaves_links() {
        let record = full().with_asked(&json!({ "grants": [] }), false).unwrap();
        assert_eq!((record.grants.len(), record.restricted), (0, false));
        assert_eq!((record.links.len(), record.invitations.len()), (1, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = json!({ "subject": "public", "role": "viewer" });
        let many = vec![one.clone(); RECORD_GRANTS_MAX + 1];
        for (value, error) in [
            (json!([]), RecordError::Fields),
            (json!({}), RecordError::Fields),
            (json!({ "grants": {} }), RecordError::Fields),
            (json!({ "grants": [], "deny": [] }), RecordError::Fields),
            (json!({ "grants": [], "restricted": 1 }), RecordError::Restricted),
            (json!({ "grants": many }), RecordError::TooMany),
            (json!({ "grants": [one, {}] }), RecordError::Grant { at: 1, error: GrantError::Subject }),
        ] {
            assert_eq!(asked(value.clone()), Err(error), "{value}");
        }
        let restricted = json!({ "grants": [], "restricted": true });
        assert_eq!(Record::default().with_asked(&restricted, true), Err(RecordError::Restricted));
        // The same twice is one.
        assert_eq!(asked(json!({ "grants": [one, one] })).unwrap().grants.len(), 1);
    }

    #[test]
    fn links_give_no_more_than_editing() {
        assert!(link(json!({ "role": "editor" })).is_some());
        for refused in [
            json!({ "role": "owner" }),
            json!({}),
            json!({ "role": "viewer", "label": "x".repeat(LABEL_CHARS_MAX + 1) }),
            json!({ "role": "viewer", "not_after": "soon" }),
            json!({ "role": "viewer", "password": "x" }),
        ] {
            assert_eq!(link(refused.clone()), None, "{refused}");
        }
    }
}
