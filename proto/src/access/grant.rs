//! One grant: to whom, which role, and under which conditions.

use super::condition::{ConditionError, Conditions};
use super::principal::{Principal, User};
use super::role::{Role, UnknownRole};
use core::fmt;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The longest name of a user, a group, or a folder.
pub const SUBJECT_BYTES_MAX: usize = 256;

/// A role for somebody. Grants only ever add: none takes away what another one gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub subject: Subject,
    /// What they may do.
    pub role: Role,
    /// For dashboards whose names begin with this only, which ends in a slash. Of a workspace's grants.
    pub folder: Option<Arc<str>>,
    /// When and from where.
    pub when: Conditions,
}

/// To whom a grant is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `user:ID` – one user.
    User(Arc<str>),
    /// `group:NAME` – whoever's token says that they are in it.
    Group(Arc<str>),
    /// `everyone` – every user whose token speaks for the workspace.
    Everyone,
    /// `public` – whoever comes, without a token too.
    Public,
}

impl Subject {
    /// Whether it means `principal`.
    #[must_use]
    pub fn means(&self, principal: &Principal, workspace: &str) -> bool {
        let speaks = |user: &&User| user.speaks_for(workspace);
        match self {
            Subject::Public => true,
            Subject::Everyone => principal.as_user().filter(speaks).is_some(),
            Subject::User(id) => principal.as_user().filter(speaks).is_some_and(|user| user.id == *id),
            Subject::Group(name) => principal.as_user().filter(speaks).is_some_and(|user| user.groups.contains(name)),
        }
    }

    fn parse(text: &str) -> Option<Subject> {
        let is_name = |name: &&str| is_name(name);
        match text.split_once(':') {
            None if text == "everyone" => Some(Subject::Everyone),
            None if text == "public" => Some(Subject::Public),
            Some(("user", id)) => Some(id).filter(is_name).map(|id| Subject::User(id.into())),
            Some(("group", name)) => Some(name).filter(is_name).map(|name| Subject::Group(name.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::User(id) => write!(f, "user:{id}"),
            Subject::Group(name) => write!(f, "group:{name}"),
            Subject::Everyone => f.write_str("everyone"),
            Subject::Public => f.write_str("public"),
        }
    }
}

/// Whether a text can be the name of a user, a group or a folder.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Why a value is no grant, or one that this version of ydash does not know: it gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not an object.
    #[error("a grant is an object with subject and role")]
    NotAnObject,
    /// Nobody that could be given something.
    #[error("subject is one of user:ID, group:NAME, everyone, public")]
    Subject,
    /// No such role.
    #[error(transparent)]
    Role(#[from] UnknownRole),
    /// A folder where there is none, or that is none.
    #[error("folder is the beginning of names, as finance/, and stands in grants of a workspace")]
    Folder,
    /// A condition that is none.
    #[error(transparent)]
    Condition(#[from] ConditionError),
    /// A field that nobody knows. It might be a condition, so the grant must not count without it.
    #[error("unknown field {0:?}")]
    Unknown(String),
}

impl Grant {
    /// Reads a grant; `in_workspace` if it is of a workspace, where it may have a folder.
    ///
    /// # Errors
    /// [`GrantError`] – names the field.
    pub fn parse(value: &Value, in_workspace: bool) -> Result<Grant, GrantError> {
        let mut fields = value.as_object().ok_or(GrantError::NotAnObject)?.clone();
        let text = |value: Option<Value>| if let Some(Value::String(text)) = value { Some(text) } else { None };
        let subject = text(fields.remove("subject")).and_then(|text| Subject::parse(&text));
        let subject = subject.ok_or(GrantError::Subject)?;
        let role = text(fields.remove("role")).ok_or(UnknownRole)?.parse()?;
        let folder = match fields.remove("folder") {
            None => None,
            Some(folder) => {
                let folder = text(Some(folder)).filter(|text| in_workspace && is_folder(text));
                Some(folder.ok_or(GrantError::Folder)?.into())
            }
        };
        let when = Conditions::take(&mut fields)?;
        match fields.into_iter().next() {
            None => Ok(Grant { subject, role, folder, when }),
            Some((name, _)) => Err(GrantError::Unknown(name.chars().take(64).collect())),
        }
    }

    /// As it is read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("subject".to_owned(), self.subject.to_string().into());
        fields.insert("role".to_owned(), self.role.as_str().into());
        if let Some(folder) = &self.folder {
            fields.insert("folder".to_owned(), (**folder).into());
        }
        self.when.put(&mut fields);
        Value::Object(fields)
    }
}

/// The beginning of names, with the slash behind it. Private documents and channels are in no folder.
fn is_folder(text: &str) -> bool {
    is_name(text) && text.ends_with('/') && text.len() > 1 && !text.starts_with(['~', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(groups: &[&str], workspaces: Option<&[&str]>) -> Principal {
        let shared = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect::<Vec<Arc<str>>>();
        let user =
            User { id: "ada".into(), groups: shared(groups), workspaces: workspaces.map(shared), ..User::default() };
        Principal::User(Arc::new(user))
    }

    #[test]
    fn a_subject_means_whom_it_names() {
        let link = Principal::Link(Arc::new(super::super::Link { id: "ada".into() }));
        for (subject, principal, means) in [
            ("user:ada", user(&[], None), true),
            ("user:bob", user(&[], None), false),
            ("user:ada", link.clone(), false),
            ("user:ada", Principal::Anonymous, false),
            ("user:ada", user(&[], Some(&["acme"])), true),
            ("user:ada", user(&[], Some(&["other"])), false),
            ("group:sales", user(&["it", "sales"], None), true),
            ("group:sales", user(&["sales"], Some(&[])), false),
            ("group:sales", user(&[], None), false),
            ("everyone", user(&[], Some(&["acme"])), true),
            ("everyone", user(&[], Some(&["other"])), false),
            ("everyone", link.clone(), false),
            ("everyone", Principal::Anonymous, false),
            ("public", Principal::Anonymous, true),
            ("public", link, true),
            ("public", user(&[], Some(&[])), true),
        ] {
            assert_eq!(Subject::parse(subject).unwrap().means(&principal, "acme"), means, "{subject} {principal:?}");
        }
    }

    #[test]
    fn a_grant_is_read_as_it_is_written() {
        for grant in [
            json!({ "subject": "user:ada:lovelace", "role": "owner" }),
            json!({ "subject": "group:Vertrieb EU", "role": "editor", "not_after": "2026-12-24T18:00:00Z" }),
            json!({ "subject": "public", "role": "watcher", "folder": "lobby/", "addresses": ["10.0.0.0/8"] }),
        ] {
            assert_eq!(Grant::parse(&grant, true).unwrap().to_json(), grant);
        }
    }

    #[test]
    fn what_is_unknown_is_no_grant() {
        for (grant, error) in [
            (json!("user:ada"), GrantError::NotAnObject),
            (json!({ "role": "viewer" }), GrantError::Subject),
            (json!({ "subject": "users:ada", "role": "viewer" }), GrantError::Subject),
            (json!({ "subject": "user:", "role": "viewer" }), GrantError::Subject),
            (json!({ "subject": "Everyone", "role": "viewer" }), GrantError::Subject),
            (json!({ "subject": format!("user:{}", "a".repeat(257)), "role": "viewer" }), GrantError::Subject),
            (json!({ "subject": "public" }), GrantError::Role(UnknownRole)),
            (json!({ "subject": "public", "role": "admin" }), GrantError::Role(UnknownRole)),
            (json!({ "subject": "public", "role": "viewer", "not_after": 5 }), ConditionError::Time.into()),
            (json!({ "subject": "public", "role": "viewer", "if": "trusted" }), GrantError::Unknown("if".into())),
            (json!({ "subject": "public", "role": "viewer", "folder": "lobby/" }), GrantError::Folder),
        ] {
            assert_eq!(Grant::parse(&grant, false), Err(error), "{grant}");
        }
        for folder in ["", "/", "lobby", "~ada/", "@news/"] {
            let grant = json!({ "subject": "public", "role": "viewer", "folder": folder });
            assert_eq!(Grant::parse(&grant, true), Err(GrantError::Folder), "{folder}");
        }
    }
}
