//! Why somebody may do what they may, and what is missing where they may not.

use super::decide::{Asking, Considered, Decision, Outcome, Records, What, consider, decide};
use super::{Access, Pattern};
use crate::time::Timestamp;
use serde_json::{Map, Value, json};

/// A decision with everything that was looked at for it.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// One object for each thing that was looked at, as the REST interface shows it.
    pub reasons: Vec<Value>,
}

/// Decides as [`decide`], and says why.
#[must_use]
pub fn explain(asking: &Asking<'_>, records: &Records, now: Timestamp) -> Explanation {
    let mut reasons = Vec::new();
    consider(asking, records, now, |considered| reasons.push(reason(&considered)));
    Explanation { decision: decide(asking, records, now), reasons }
}

impl Explanation {
    /// As the REST interface shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Explanation { decision, reasons } = self;
        let mut shown = shown(decision.access);
        shown.insert("reasons".to_owned(), reasons.clone().into());
        if let Some(until) = decision.until {
            shown.insert("until".to_owned(), super::moment::format(until).into());
        }
        Value::Object(shown)
    }
}

/// What an access is called, and what it allows.
#[must_use]
pub fn shown(access: Access) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("role".to_owned(), access.role().map_or(Value::Null, |role| role.as_str().into()));
    fields.insert("may".to_owned(), access.capabilities.names().map(Value::from).collect());
    fields
}

fn reason(considered: &Considered<'_>) -> Value {
    let (from, what) = match considered.what {
        What::Given => ("server", json!({ "setting": "what this server gives to everybody" })),
        What::Private => ("private", json!({ "rule": "a private document is for its user" })),
        What::Blocked => ("server", json!({ "rule": "the user is blocked" })),
        What::Workspace(grant) => ("workspace", grant.to_json()),
        What::Dashboard(grant) => ("dashboard", grant.to_json()),
        What::Unknown(entry) => ("record", entry.to_json()),
        What::Token(grant) => {
            let dashboards = match &grant.dashboards {
                Pattern::Dashboard(dashboard) => dashboard.to_string(),
                Pattern::Below { workspace, folder } => format!("{workspace}/{folder}*"),
                Pattern::All => "every workspace of the token".to_owned(),
            };
            ("token", json!({ "dashboards": dashboards, "role": grant.role.as_str() }))
        }
        What::Link(link) => ("link", link.to_json()),
    };
    let missing = match &considered.outcome {
        Outcome::Counts => None,
        Outcome::OtherSubject => Some("it is for somebody else".to_owned()),
        Outcome::OtherFolder => Some("it is for other dashboards".to_owned()),
        Outcome::OtherWorkspace => Some("the token does not speak for this workspace".to_owned()),
        Outcome::Restricted => Some("the dashboard is restricted: grants of its workspace do not count".to_owned()),
        Outcome::Unmet(unmet) => Some(unmet.to_string()),
        Outcome::NotUnderstood(why) => Some(format!("not understood: {why}")),
    };
    let mut reason = json!({ "from": from, "grant": what, "counts": missing.is_none() });
    if let Some(missing) = missing {
        reason["missing"] = missing.into();
    } else {
        reason["gives"] = considered.gives.capabilities.names().map(Value::from).collect();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::super::Principal;
    use super::super::decide::tests::records;
    use super::*;

    #[test]
    fn every_grant_is_explained() {
        let records = records(
            json!({ "grants": [
                { "subject": "everyone", "role": "viewer" },
                { "subject": "user:ada", "role": "owner", "not_after": "2020-01-01T00:00:00Z" },
                { "subject": "user:ada", "role": "owner", "folder": "finance/" },
            ] }),
            json!({ "grants": [
                { "subject": "group:sales", "role": "editor" },
                { "subject": "user:ada", "role": "editor", "addresses": ["10.0.0.0/8"] },
            ] }),
        );
        let ada = Principal::user("ada");
        let asking = Asking { principal: &ada, given: Access::NONE, address: None };
        let shown = explain(&asking, &records, Timestamp(1_795_832_527_000)).to_json();
        assert_eq!((&shown["role"], &shown["may"]), (&json!("viewer"), &json!(["read", "presence"])));
        let told: Vec<_> = shown["reasons"].as_array().unwrap().iter().map(|one| one["missing"].as_str()).collect();
        assert_eq!(
            told,
            [
                None,
                Some("not after 2020-01-01T00:00:00Z"),
                Some("it is for other dashboards"),
                Some("it is for somebody else"),
                Some("not from its addresses"),
            ]
        );
        assert_eq!(shown["reasons"][0]["grant"], json!({ "subject": "everyone", "role": "viewer" }));
    }
}
