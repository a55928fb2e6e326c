//! How a version of a dashboard is named: by a position, by a time, or by how long ago it was.

use crate::access;
use crate::log::LogPosition;
use crate::time::Timestamp;
use core::time::Duration;

/// A version, as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Everything up to a log position.
    Position(LogPosition),
    /// Everything that was made up to then.
    Time(Timestamp),
    /// Everything that was made up to so long before now.
    Ago(Duration),
}

/// A version at a known moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything up to a log position.
    Position(LogPosition),
    /// Everything that was made up to then.
    Time(Timestamp),
}

impl Version {
    /// Reads a position in decimal digits, a time as RFC 3339 has it, or `-2h`: a number with `s`, `m`, `h` or `d`.
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
        match digits::<u128>(text) {
            Some(position) => Some(Version::Position(LogPosition(position))),
            None => access::parse_moment(text).map(Version::Time),
        }
    }

    /// The version that it means at a time.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Wanted {
        match self {
            Version::Position(position) => Wanted::Position(position),
            Version::Time(at) => Wanted::Time(at),
            Version::Ago(ago) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                Wanted::Time(Timestamp(now.0.saturating_sub(ago)))
            }
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
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        let now = Timestamp(10_000_000);
        assert_eq!(Version::parse("-2h").unwrap().at(now), Wanted::Time(Timestamp(2_800_000)));
        assert_eq!(Version::parse("-9d").unwrap().at(now), Wanted::Time(Timestamp(0)));
    }
}
