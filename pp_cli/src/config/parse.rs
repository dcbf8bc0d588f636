//! Parsers for values. Durations have a unit, counts have bounds.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

/// Parses a duration such as `5s`, `250ms` or `1h 30m`. Only `0` may omit the unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits_only && text.bytes().any(|byte| byte != b'0') {
        return Err(format!("a duration needs a unit, as in `{text}s` or `{text}ms`"));
    }
    if digits_only {
        return Ok(Duration::ZERO);
    }
    let longest = Duration::from_secs(366 * 24 * 3600);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= longest => Ok(duration),
        Ok(_) => Err("a duration may be at most 366 days".to_owned()),
        Err(error) => Err(format!("{error}; a duration is a number and a unit, as in `5s`")),
    }
}

/// A parser for durations between two bounds, both included.
pub(super) fn duration_within((from, to): (Duration, Duration)) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let parsed = duration(text)?;
        let expected = || {
            format!(
                "expected a duration from {} to {}",
                DurationText(from),
                DurationText(to)
            )
        };
        (from..=to).contains(&parsed).then_some(parsed).ok_or_else(expected)
    }
}

/// True if every server accepts the text at the start of a name.
pub(super) fn is_plain_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(plain)
}

/// Formats a duration the way a setting spells it, for help texts and log lines.
#[derive(Clone, Copy, Debug)]
pub struct DurationText(pub Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A parser for whole numbers in a range.
pub fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + fmt::Display + Clone,
{
    move |text| {
        text.parse::<T>()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A parser for sizes such as `256KiB` or `1GB`. The range is in bytes.
pub fn size(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let bytes = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        let expected = || {
            let as_typed = |bytes: &u64| ByteSize(*bytes).to_string().replace(".0", "").replace(' ', "");
            let (from, to) = (as_typed(range.start()), as_typed(range.end()));
            format!("expected a size from {from} to {to}, as in 256KiB")
        };
        bytes
            .filter(|bytes| range.contains(bytes))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_and_bounds() {
        let size = size(1..=1 << 30);
        for (text, bytes) in [("1", 1), ("256KiB", 262_144), ("1MB", 1_000_000), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["0", "2GiB", "lots", "-1", "", "5 parsecs"] {
            let why = "expected a size from 1B to 1GiB, as in 256KiB".to_owned();
            assert_eq!(size(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["5", "", "s", "-1s", "5 parsecs", "1.5", "999years"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_whole_number_has_bounds() {
        assert_eq!(whole(1..=8_u16)("8"), Ok(8));
        for bad in ["0", "9", "-1", "1.0", "x", "99999999999"] {
            assert_eq!(
                whole(1..=8_u16)(bad),
                Err("expected a whole number from 1 to 8".to_owned()),
                "{bad}"
            );
        }
    }
}
