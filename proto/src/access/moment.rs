//! Points in time as people and records write them: RFC 3339, to the second.

use crate::time::Timestamp;

const DAY_SECONDS: i64 = 86_400;

/// Reads `2026-12-01T08:00:00Z` or `2026-12-01T09:00:00+01:00`; fractions of a second are read and dropped. `None` for anything else, and
/// for times before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
    };
    let is_at = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let marks = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    if !marks.iter().all(|(at, mark)| is_at(*at, *mark)) || !is_at(10, b"Tt ") {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    // A leap second is the one after it.
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &bytes[19..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = if (1..=9).contains(&len) { &fraction[len..] } else { return None };
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        offset => i64::from(parse_offset(core::str::from_utf8(offset).ok()?)?),
    };
    let seconds = days_since_epoch(year, month, day) * DAY_SECONDS + hour * 3600 + (minute - offset) * 60 + second;
    u64::try_from(seconds).ok().map(|seconds| Timestamp(seconds * 1000))
}

/// Writes it in UTC, to the second.
#[must_use]
pub fn format(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = date_of(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Reads `+01:00`, as minutes.
pub(super) fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let minutes = parse_clock(rest).filter(|minutes| *minutes <= 18 * 60)?;
    Some(sign * i32::from(minutes))
}

/// Reads `08:30`, as minutes; up to `24:00`.
pub(super) fn parse_clock(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two =
        |digits: &str| (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok());
    let (hours, minutes): (u16, u16) = (two(hours)??, two(minutes)??);
    (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// As above, `civil_from_days`.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read_with_any_offset() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-28T02:22:07Z", 1_795_832_527),
            ("2026-11-28T03:22:07.999+01:00", 1_795_832_527),
            ("2026-11-27t21:52:07-04:30", 1_795_832_527),
            ("2024-02-29 23:59:60Z", 1_709_251_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(Timestamp(seconds * 1000)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "2026-11-28",
            "2026-11-28T02:22:07",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-28T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-28T02:22:07.Z",
            "2026-11-28T02:22:07+1:00",
            "2026-11-28T02:22:07Zx",
            "+026-11-28T02:22:07Z",
            "2026-11-28T02:22:07+99:00",
            "1795832527",
            "2026-11-28T02:22:07\u{e9}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0_u64..253_402_300_800) {
            let at = Timestamp(seconds * 1000);
            prop_assert_eq!(parse(&format(at)), Some(at));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (parse(&text), parse_offset(&text), parse_clock(&text));
        }
    }
}
