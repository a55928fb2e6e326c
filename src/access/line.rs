//! What nodes say to each other about access: one word each, as JSON behind a version.

use bytes::Bytes;
use serde_json::{Value, json};
use ydash_proto::id::{DashboardId, NodeId};

use crate::catalog::Key;

/// Changed with the meaning of any word. A word of another version is not understood, so what it says is not confirmed.
const VERSION: u8 = 1;

/// Something that a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Who says it.
    pub(super) from: NodeId,
    pub(super) said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is there; whoever hears it says so, too.
    Hello,
    /// The answer to a hello.
    Here { to: NodeId },
    /// A record has changed. To be confirmed.
    Changed { ticket: u64, key: Key, version: u64, stored: Bytes },
    /// Everything is to be read again. To be confirmed.
    Recheck { ticket: u64 },
    /// A dashboard was deleted: rooms let go of it. To be confirmed.
    Deleted { ticket: u64, dashboard: DashboardId },
    /// The confirmation.
    Applied { to: NodeId, ticket: u64 },
}

impl Word {
    pub(super) fn encode(&self) -> Bytes {
        let mut value = match &self.said {
            Said::Hello => json!({ "say": "hello" }),
            Said::Here { to } => json!({ "say": "here", "to": to.0 }),
            Said::Changed { ticket, key, version, stored } => json!({
                "say": "changed", "ticket": ticket, "key": key.as_str(), "version": version,
                "stored": String::from_utf8_lossy(stored),
            }),
            Said::Recheck { ticket } => json!({ "say": "recheck", "ticket": ticket }),
            Said::Deleted { ticket, dashboard } => {
                json!({ "say": "deleted", "ticket": ticket, "dashboard": dashboard.as_str() })
            }
            Said::Applied { to, ticket } => json!({ "say": "applied", "to": to.0, "ticket": ticket }),
        };
        value["from"] = self.from.0.into();
        let mut bytes = vec![VERSION];
        bytes.extend(value.to_string().into_bytes());
        bytes.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        let (version, json) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let value: Value = serde_json::from_slice(json).ok()?;
        let number = |name: &str| value[name].as_u64();
        let to = || number("to").map(NodeId);
        let said = match value["say"].as_str()? {
            "hello" => Said::Hello,
            "here" => Said::Here { to: to()? },
            "changed" => Said::Changed {
                ticket: number("ticket")?,
                key: Key::new(value["key"].as_str()?)?,
                version: number("version")?,
                stored: Bytes::copy_from_slice(value["stored"].as_str()?.as_bytes()),
            },
            "recheck" => Said::Recheck { ticket: number("ticket")? },
            "deleted" => {
                let dashboard = DashboardId::stored(value["dashboard"].as_str()?).ok()?;
                Said::Deleted { ticket: number("ticket")?, dashboard }
            }
            "applied" => Said::Applied { to: to()?, ticket: number("ticket")? },
            _ => return None,
        };
        Some(Word { from: NodeId(number("from")?), said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_word() -> [Word; 6] {
        let key = Key::new("acl/acme/Umsätze").unwrap();
        let stored = Bytes::from_static(b"{\"format\":1}");
        let said = [
            Said::Hello,
            Said::Here { to: NodeId(u64::MAX) },
            Said::Changed { ticket: 3, key, version: 1_795_832_527_000_000, stored },
            Said::Recheck { ticket: 4 },
            Said::Deleted { ticket: 5, dashboard: DashboardId::parse("acme/Umsätze").unwrap() },
            Said::Applied { to: NodeId(7), ticket: 3 },
        ];
        said.map(|said| Word { from: NodeId(u64::MAX - 1), said })
    }

    #[test]
    fn words_decode_to_what_they_were() {
        for word in every_word() {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
    }

    /// Change these bytes only together with [`VERSION`].
    #[test]
    fn golden_word() {
        let word = Word { from: NodeId(7), said: Said::Applied { to: NodeId(8), ticket: 9 } };
        assert_eq!(word.encode(), &b"\x01{\"from\":7,\"say\":\"applied\",\"ticket\":9,\"to\":8}"[..]);
    }

    #[test]
    fn what_is_no_word_is_none() {
        for bytes in
            [&b""[..], b"\x01", b"\x01{}", b"\x02{\"say\":\"hello\",\"from\":1}", b"\x01{\"say\":\"bow\",\"from\":1}"]
        {
            assert_eq!(Word::decode(bytes), None);
        }
    }
}
