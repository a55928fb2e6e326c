//! Names of versions of a dashboard: a position, a time, a span of time before now, or the id of a kept version.

use crate::access;
use crate::log::LogPosition;
use crate::time::Timestamp;
use core::fmt;
use core::time::Duration;

/// A version, as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The version that is kept under this id.
    Kept(VersionId),
    /// Everything up to a log position.
    Position(LogPosition),
    /// Everything that was made up to then.
    Time(Timestamp),
    /// Everything that was made up to so long before now.
    Ago(Duration),
}

/// The id of a version that is kept with its content. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub u64);

/// The first character of an id as text. No position, time or span of time begins with it.
const ID: char = 'v';
const ID_DIGITS: usize = 16;
/// Random bits of an id, so that two ids of one millisecond differ.
const RANDOM_BITS: u32 = 20;

impl VersionId {
    /// For a version that is made at a time.
    #[must_use]
    pub fn new(at: Timestamp, random: u32) -> VersionId {
        VersionId(at.0 << RANDOM_BITS | u64::from(random) & ((1 << RANDOM_BITS) - 1))
    }

    /// Reads an id as it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<VersionId> {
        let digits = text.strip_prefix(ID).filter(|digits| digits.len() == ID_DIGITS)?;
        let is_plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_plain { u64::from_str_radix(digits, 16).ok().map(VersionId) } else { None }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID}{:0ID_DIGITS$x}", self.0)
    }
}

/// A version whose content never changes, whenever somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// The version that is kept under this id.
    Kept(VersionId),
    /// Everything up to a log position.
    Position(LogPosition),
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pinned::Kept(id) => id.fmt(f),
            Pinned::Position(position) => position.fmt(f),
        }
    }
}

/// A version of the log at a known moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything up to a log position.
    Position(LogPosition),
    /// Everything that was made up to then.
    Time(Timestamp),
}

impl Version {
    /// Reads an id, a position in decimal digits, a time as RFC 3339 has it, or `-2h`: a number with `s`, `m`, `h` or `d`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Version> {
        if let Some(ago) = text.strip_prefix('-') {
            let (number, unit) = ago.split_at_checked(ago.len().checked_sub(1)?)?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            return Some(Version::Ago(Duration::from_secs(digits::<u64>(number)?.checked_mul(seconds)?)));
        }
        if let Some(id) = VersionId::parse(text) {
            return Some(Version::Kept(id));
        }
        match digits::<u128>(text) {
            Some(position) => Some(Version::Position(LogPosition(position))),
            None => access::parse_moment(text).map(Version::Time),
        }
    }

    /// The version of the log that this name means at a time.
    ///
    /// # Errors
    /// The id of a kept version, whose content does not depend on the log.
    pub fn at(self, now: Timestamp) -> Result<Wanted, VersionId> {
        match self {
            Version::Kept(id) => Err(id),
            Version::Position(position) => Ok(Wanted::Position(position)),
            Version::Time(at) => Ok(Wanted::Time(at)),
            Version::Ago(ago) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                Ok(Wanted::Time(Timestamp(now.0.saturating_sub(ago))))
            }
        }
    }

    /// The version that this name means at any time; `None` if that depends on the time.
    #[must_use]
    pub fn pinned(self) -> Option<Pinned> {
        match self {
            Version::Kept(id) => Some(Pinned::Kept(id)),
            Version::Position(position) => Some(Pinned::Position(position)),
            Version::Time(_) | Version::Ago(_) => None,
        }
    }
}

/// Nothing but digits, and no more than there is place for.
fn digits<T: core::str::FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_positions_times_and_times_ago() {
        let position = |position: u128| Some(Version::Position(LogPosition(position)));
        let ago = |seconds| Some(Version::Ago(Duration::from_secs(seconds)));
        for (text, version) in [
            ("0", position(0)),
            ("812", position(812)),
            ("31359464925306237747200000000000000000", position(31_359_464_925_306_237_747_200_000_000_000_000_000)),
            ("v0000000000000000", Some(Version::Kept(VersionId(0)))),
            ("v1a2223f3d0c00001", Some(Version::Kept(VersionId(0x1a22_23f3_d0c0_0001)))),
            ("-90s", ago(90)),
            ("-15m", ago(900)),
            ("-2h", ago(7200)),
            ("-7d", ago(604_800)),
            ("2026-11-28T02:22:07Z", Some(Version::Time(Timestamp(1_795_832_527_000)))),
            ("2026-11-28T03:22:07+01:00", Some(Version::Time(Timestamp(1_795_832_527_000)))),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        for text in [
            "",
            "-",
            "-h",
            "-2",
            "-2y",
            "--2h",
            "-+2h",
            "+2",
            "1e3",
            "yesterday",
            "2026-11-28",
            "-99999999999999999999d",
            "-2ü",
            "v",
            "v1",
            "v1a2223f3d0c0000",
            "v1a2223f3d0c000011",
            "V1a2223f3d0c00001",
            "v1A2223f3d0c00001",
            "v+a2223f3d0c00001",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        let now = Timestamp(10_000_000);
        assert_eq!(Version::parse("-2h").unwrap().at(now), Ok(Wanted::Time(Timestamp(2_800_000))));
        assert_eq!(Version::parse("-9d").unwrap().at(now), Ok(Wanted::Time(Timestamp(0))));
    }

    #[test]
    fn ids_are_in_the_order_of_time_and_read_as_they_are_written() {
        let at = |ms, random| VersionId::new(Timestamp(ms), random);
        let ids = [at(0, 0), at(1, u32::MAX), at(2, 0), at(1_795_832_527_000, 7), at((1 << 44) - 1, u32::MAX)];
        assert!(ids.is_sorted() && ids.map(|id| id.to_string()).is_sorted());
        for id in ids {
            assert_eq!(Version::parse(&id.to_string()), Some(Version::Kept(id)));
            assert_eq!(Version::Kept(id).at(Timestamp(5)), Err(id));
            assert_eq!(Version::Kept(id).pinned(), Some(Pinned::Kept(id)));
        }
        assert_ne!(at(1, 1), at(1, 2));
    }
}
