//! When and from where a grant counts.

use super::address::{Address, Network};
use super::moment;
use crate::time::Timestamp;
use core::fmt;
use serde_json::{Map, Value, json};

/// Weekly windows, and networks, of one grant.
pub const CONDITIONS_MAX: usize = 32;

const MINUTE: u64 = 60_000;
const DAY_MINUTES: u64 = 24 * 60;
const WEEK_MINUTES: u64 = 7 * DAY_MINUTES;
/// The epoch was a Thursday: so many minutes after the beginning of a week.
const EPOCH_MINUTES: u64 = 3 * DAY_MINUTES;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What has to be so for a grant to count: all of it. Without conditions it always counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// From then on.
    pub not_before: Option<Timestamp>,
    /// Until then, exclusively.
    pub not_after: Option<Timestamp>,
    /// In one of these windows, if there are any. At most [`CONDITIONS_MAX`].
    pub weekly: Vec<Weekly>,
    /// From one of these networks, if there are any. At most [`CONDITIONS_MAX`].
    pub addresses: Vec<Network>,
}

/// A window that returns every week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weekly {
    /// One bit for each day on which it begins, Monday first.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    /// Minutes after midnight; the next day's if it is not after `from`.
    to: u16,
    /// Of the clock that it goes by, in minutes ahead of UTC.
    offset: i32,
}

/// Why a grant does not count at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// It begins then.
    NotYet(Timestamp),
    /// It ended then.
    Ended(Timestamp),
    /// It is outside all of its weekly windows.
    OutsideWindow,
    /// The caller's address is in none of its networks.
    Address,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmet::NotYet(at) => write!(f, "not before {}", moment::format(*at)),
            Unmet::Ended(at) => write!(f, "not after {}", moment::format(*at)),
            Unmet::OutsideWindow => f.write_str("outside its weekly windows"),
            Unmet::Address => f.write_str("not from its addresses"),
        }
    }
}

/// Why a text is no condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// No time.
    #[error("not_before and not_after are times as 2026-12-01T08:00:00Z")]
    Time,
    /// No window.
    #[error(
        "weekly is a list of {{\"days\": [\"mon\", …], \"from\": \"08:00\", \"to\": \"18:00\", \"utc_offset\": \"+01:00\"}}"
    )]
    Weekly,
    /// No network.
    #[error("addresses is a list of networks as 10.0.0.0/8 or 2001:db8::/32")]
    Addresses,
    /// Too many.
    #[error("weekly and addresses have at most {CONDITIONS_MAX} entries each")]
    TooMany,
}

impl Conditions {
    /// Takes what it knows out of the fields of a grant; what is left is somebody else's, or unknown.
    ///
    /// # Errors
    /// [`ConditionError`] – names the field.
    pub(super) fn take(fields: &mut Map<String, Value>) -> Result<Conditions, ConditionError> {
        let mut moment = |name: &str| match fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => moment::parse(&text).map(Some).ok_or(ConditionError::Time),
            Some(_) => Err(ConditionError::Time),
        };
        let (not_before, not_after) = (moment("not_before")?, moment("not_after")?);
        let mut list = |name: &str, error| match fields.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            // An empty list is no condition in one reading, and one that is never met in the other.
            Some(Value::Array(entries)) if entries.is_empty() => Err(error),
            Some(Value::Array(entries)) if entries.len() > CONDITIONS_MAX => Err(ConditionError::TooMany),
            Some(Value::Array(entries)) => Ok(entries),
            Some(_) => Err(error),
        };
        let weekly = list("weekly", ConditionError::Weekly)?;
        let addresses = list("addresses", ConditionError::Addresses)?;
        Ok(Conditions {
            not_before,
            not_after,
            weekly: weekly.iter().map(Weekly::parse).collect::<Option<_>>().ok_or(ConditionError::Weekly)?,
            addresses: addresses
                .iter()
                .map(|entry| Network::parse(entry.as_str()?))
                .collect::<Option<_>>()
                .ok_or(ConditionError::Addresses)?,
        })
    }

    /// Adds its fields to those of a grant.
    pub(super) fn put(&self, fields: &mut Map<String, Value>) {
        for (name, at) in [("not_before", self.not_before), ("not_after", self.not_after)] {
            if let Some(at) = at {
                fields.insert(name.to_owned(), moment::format(at).into());
            }
        }
        if !self.weekly.is_empty() {
            fields.insert("weekly".to_owned(), self.weekly.iter().map(Weekly::to_json).collect());
        }
        if !self.addresses.is_empty() {
            fields.insert("addresses".to_owned(), self.addresses.iter().map(ToString::to_string).collect());
        }
    }

    /// Whether all of it is so.
    ///
    /// # Errors
    /// [`Unmet`] – the first that is not.
    pub fn check(&self, address: Option<Address>, now: Timestamp) -> Result<(), Unmet> {
        if let Some(at) = self.not_before.filter(|at| now < *at) {
            return Err(Unmet::NotYet(at));
        }
        if let Some(at) = self.not_after.filter(|at| now >= *at) {
            return Err(Unmet::Ended(at));
        }
        if !self.weekly.is_empty() && !self.weekly.iter().any(|window| window.contains(now)) {
            return Err(Unmet::OutsideWindow);
        }
        let is_within = |address| self.addresses.iter().any(|network| network.contains(address));
        if !self.addresses.is_empty() && !address.is_some_and(is_within) {
            return Err(Unmet::Address);
        }
        Ok(())
    }

    /// Until when the answer stays what it is at `now`, whatever else happens; `None` if no time changes it.
    #[must_use]
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.not_after.is_some_and(|at| at <= now) {
            return None;
        }
        let bounds = self.not_before.into_iter().chain(self.not_after).filter(|at| *at > now);
        bounds.chain(self.weekly.iter().map(|window| window.changes_at(now))).min()
    }
}

impl Weekly {
    fn parse(value: &Value) -> Option<Weekly> {
        let mut fields = value.as_object()?.clone();
        let mut days = 0;
        for day in fields.remove("days")?.as_array()? {
            days |= 1 << DAYS.iter().position(|name| Some(*name) == day.as_str())?;
        }
        let from = moment::parse_clock(fields.remove("from")?.as_str()?).filter(|from| *from < 24 * 60)?;
        let to = moment::parse_clock(fields.remove("to")?.as_str()?)?;
        let offset = match fields.remove("utc_offset") {
            None => 0,
            Some(offset) => moment::parse_offset(offset.as_str()?)?,
        };
        (fields.is_empty() && days != 0).then_some(Weekly { days, from, to, offset })
    }

    fn to_json(&self) -> Value {
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let days: Vec<&str> = (0..7).filter(|day| self.days & 1 << day != 0).map(|day| DAYS[day]).collect();
        let sign = if self.offset < 0 { '-' } else { '+' };
        let offset = format!("{sign}{}", clock(u16::try_from(self.offset.abs()).unwrap_or(0)));
        json!({ "days": days, "from": clock(self.from), "to": clock(self.to), "utc_offset": offset })
    }

    /// How long it lasts, in minutes.
    fn len(&self) -> u64 {
        let len = (u64::from(self.to) + DAY_MINUTES - u64::from(self.from)) % DAY_MINUTES;
        // From a time to the same is a whole day.
        if len == 0 { DAY_MINUTES } else { len }
    }

    /// When it begins, in minutes of its week.
    fn starts(&self) -> impl Iterator<Item = u64> + '_ {
        let on = (0..7_u64).filter(|day| self.days & 1 << day != 0);
        on.map(|day| day * DAY_MINUTES + u64::from(self.from))
    }

    /// Minutes of its week.
    fn minute_of_week(&self, now: Timestamp) -> u64 {
        let offset = u64::try_from(i64::from(self.offset).rem_euclid(WEEK_MINUTES as i64)).unwrap_or(0);
        (now.0 / MINUTE + EPOCH_MINUTES + offset) % WEEK_MINUTES
    }

    fn contains(&self, now: Timestamp) -> bool {
        let minute = self.minute_of_week(now);
        self.starts().any(|start| (minute + WEEK_MINUTES - start) % WEEK_MINUTES < self.len())
    }

    fn changes_at(&self, now: Timestamp) -> Timestamp {
        let minute = self.minute_of_week(now);
        let until = |bound: u64| match (bound % WEEK_MINUTES + WEEK_MINUTES - minute) % WEEK_MINUTES {
            0 => WEEK_MINUTES,
            minutes => minutes,
        };
        let bounds = self.starts().flat_map(|start| [start, start + self.len()]).map(until);
        let minutes = bounds.min().unwrap_or(WEEK_MINUTES);
        Timestamp((now.0 / MINUTE + minutes) * MINUTE)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        moment::parse(text).unwrap()
    }

    fn read(value: Value) -> Result<Conditions, ConditionError> {
        let mut fields = value.as_object().unwrap().clone();
        let conditions = Conditions::take(&mut fields)?;
        assert!(fields.is_empty(), "{fields:?}");
        Ok(conditions)
    }

    fn office() -> Conditions {
        let days = ["mon", "tue", "wed", "thu", "fri"];
        read(json!({ "weekly": [{ "days": days, "from": "08:00", "to": "18:00", "utc_offset": "+01:00" }] })).unwrap()
    }

    #[test]
    fn a_time_range_holds_from_its_start_to_before_its_end() {
        let range = read(json!({ "not_before": "2026-12-01T00:00:00Z", "not_after": "2026-12-02T00:00:00Z" })).unwrap();
        let (start, end) = (at("2026-12-01T00:00:00Z"), at("2026-12-02T00:00:00Z"));
        assert_eq!(range.check(None, Timestamp(start.0 - 1)), Err(Unmet::NotYet(start)));
        assert_eq!(range.check(None, start), Ok(()));
        assert_eq!(range.check(None, Timestamp(end.0 - 1)), Ok(()));
        assert_eq!(range.check(None, end), Err(Unmet::Ended(end)));
        assert_eq!(range.changes_at(Timestamp(0)), Some(start));
        assert_eq!(range.changes_at(start), Some(end));
        assert_eq!(range.changes_at(end), None);
    }

    #[test]
    fn a_weekly_window_goes_by_its_own_clock() {
        let office = office();
        // The 27th of November 2026 is a Friday.
        for (time, is_open, changes) in [
            ("2026-11-27T06:59:59Z", false, "2026-11-27T07:00:00Z"),
            ("2026-11-27T07:00:00Z", true, "2026-11-27T17:00:00Z"),
            ("2026-11-27T16:59:59Z", true, "2026-11-27T17:00:00Z"),
            ("2026-11-27T17:00:00Z", false, "2026-11-30T07:00:00Z"),
            ("2026-11-29T12:00:00Z", false, "2026-11-30T07:00:00Z"),
        ] {
            assert_eq!(office.check(None, at(time)).is_ok(), is_open, "{time}");
            assert_eq!(office.changes_at(at(time)), Some(at(changes)), "{time}");
        }
    }

    #[test]
    fn a_window_may_last_beyond_midnight_and_the_end_of_the_week() {
        let night = read(json!({ "weekly": [{ "days": ["sun"], "from": "22:00", "to": "06:00" }] })).unwrap();
        assert!(night.check(None, at("2026-11-30T05:59:00Z")).is_ok(), "Monday");
        assert_eq!(night.check(None, at("2026-11-30T06:00:00Z")), Err(Unmet::OutsideWindow));
        let day = read(json!({ "weekly": [{ "days": ["sun"], "from": "00:00", "to": "24:00" }] })).unwrap();
        assert!(day.check(None, at("2026-11-29T23:59:59Z")).is_ok());
        assert_eq!(day.check(None, at("2026-11-30T00:00:00Z")), Err(Unmet::OutsideWindow));
    }

    #[test]
    fn addresses_are_needed_where_they_are_asked_for() {
        let home = read(json!({ "addresses": ["10.0.0.0/8", "::1"] })).unwrap();
        let from = |text| home.check(Address::parse(text), Timestamp(0));
        assert_eq!((from("10.1.2.3"), from("::1")), (Ok(()), Ok(())));
        assert_eq!((from("11.0.0.1"), home.check(None, Timestamp(0))), (Err(Unmet::Address), Err(Unmet::Address)));
        assert_eq!(home.changes_at(Timestamp(0)), None);
    }

    #[test]
    fn what_is_no_condition_is_named() {
        use ConditionError::{Addresses, Time, TooMany, Weekly};
        let many = vec!["10.0.0.1"; CONDITIONS_MAX + 1];
        for (fields, error) in [
            (json!({ "not_before": 7 }), Time),
            (json!({ "not_after": "tomorrow" }), Time),
            (json!({ "weekly": "mon" }), Weekly),
            (json!({ "weekly": [] }), Weekly),
            (json!({ "weekly": [{ "days": [], "from": "08:00", "to": "09:00" }] }), Weekly),
            (json!({ "weekly": [{ "days": ["Monday"], "from": "08:00", "to": "09:00" }] }), Weekly),
            (json!({ "weekly": [{ "days": ["mon"], "from": "8", "to": "09:00" }] }), Weekly),
            (json!({ "weekly": [{ "days": ["mon"], "from": "08:00", "to": "09:00", "except": [] }] }), Weekly),
            (json!({ "addresses": [] }), Addresses),
            (json!({ "addresses": ["10.0.0.1/8"] }), Addresses),
            (json!({ "addresses": many }), TooMany),
        ] {
            assert_eq!(read(fields.clone()), Err(error), "{fields}");
        }
    }

    pub(in super::super) fn conditions() -> impl Strategy<Value = Conditions> {
        let time = || proptest::option::of((0_u64..4_000_000).prop_map(|minutes| Timestamp(minutes * MINUTE)));
        let window = (1_u8..128, 0_u16..1440, 0_u16..=1440, -1080_i32..=1080);
        let window = window.prop_map(|(days, from, to, offset)| Weekly { days, from, to, offset });
        let network = prop_oneof![Just("10.0.0.0/8"), Just("::1"), Just("10.1.0.0/16")];
        let network = network.prop_map(|text| Network::parse(text).unwrap());
        let windows = proptest::collection::vec(window, 0..3);
        (time(), time(), windows, proptest::collection::vec(network, 0..3)).prop_map(
            |(not_before, not_after, weekly, addresses)| Conditions { not_before, not_after, weekly, addresses },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(conditions in conditions()) {
            let mut fields = Map::new();
            conditions.put(&mut fields);
            prop_assert_eq!(read(Value::Object(fields)), Ok(conditions));
        }

        #[test]
        fn nothing_changes_before_it_is_said_to(conditions in conditions(), minute in 0_u64..4_100_000, later in 0.0_f64..1.0) {
            let now = Timestamp(minute * MINUTE + 7);
            let end = conditions.changes_at(now).unwrap_or(Timestamp(now.0 + 30 * 24 * 3_600_000));
            prop_assert!(end > now);
            let between = Timestamp(now.0 + ((end.0 - 1 - now.0) as f64 * later) as u64);
            prop_assert_eq!(conditions.check(None, now).is_ok(), conditions.check(None, between).is_ok());
            let address = Address::parse("10.1.1.1");
            prop_assert_eq!(conditions.check(address, now).is_ok(), conditions.check(address, between).is_ok());
        }
    }
}
