//! The JSON Schema of a duration with a unit: a pattern for whole numbers of units within bounds.
//!
//! It tells a usual spelling of each duration. Others, such as `1m 30s`, are read too.

use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::{Schema, json_schema};

/// The largest number in a pattern. Longer durations have a larger unit.
const MOST: u128 = 99_999;

/// The schema of a duration within these bounds, of at least a millisecond's precision.
pub fn duration_schema(within: RangeInclusive<Duration>) -> Schema {
    const UNITS: [(&str, u128); 5] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let (least, most) = (within.start().as_millis(), within.end().as_millis());
    let mut alternatives: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, unit) in UNITS {
        let numbers = numbers(least.div_ceil(unit), MOST.min(most / unit)).join("|");
        match alternatives.iter_mut().find(|(alike, _)| *alike == numbers) {
            _ if numbers.is_empty() => {}
            Some((_, names)) => names.push(name),
            None => alternatives.push((numbers, vec![name])),
        }
    }
    let alternatives = alternatives
        .iter()
        .map(|(numbers, names)| format!("({numbers})({})", names.join("|")));
    let pattern = format!("^({})$", alternatives.collect::<Vec<_>>().join("|"));
    json_schema!({ "type": "string", "pattern": pattern })
}

/// Patterns that together match the whole numbers from `least` to `most`.
fn numbers(mut least: u128, most: u128) -> Vec<String> {
    let any = |from: usize, to: usize| match (from, to) {
        (0, 0) => String::new(),
        (1, 1) => "[0-9]".to_owned(),
        (from, to) if from == to => format!("[0-9]{{{from}}}"),
        (from, to) => format!("[0-9]{{{from},{to}}}"),
    };
    let mut patterns = Vec::new();
    while least <= most {
        let digits = least.to_string().len();
        if least == 10u128.pow(digits as u32 - 1) && 10 * least - 1 <= most {
            // All numbers of so many digits, and of more.
            let longest = (digits..)
                .take_while(|digits| 10u128.pow(*digits as u32) - 1 <= most)
                .last();
            let longest = longest.unwrap_or(digits);
            patterns.push(format!("[1-9]{}", any(digits - 1, longest - 1)));
            least = 10u128.pow(longest as u32);
            continue;
        }
        // The most digits at the end that may be any.
        let (mut free, mut size) = (0, 1);
        while least > 0 && least.is_multiple_of(size * 10) && least + size * 10 - 1 <= most {
            size *= 10;
            free += 1;
        }
        let (front, digit) = (least / size / 10, least / size % 10);
        let more = match least {
            0 => 0,
            least => (9 - digit).min((most - least + 1) / size - 1),
        };
        let front = if front > 0 { front.to_string() } else { String::new() };
        let digit = match more {
            0 => digit.to_string(),
            more => format!("[{digit}-{}]", digit + more),
        };
        patterns.push(format!("{front}{digit}{}", any(free, free)));
        least += (more + 1) * size;
    }
    patterns
}

#[cfg(test)]
mod tests {
    use crate::domain::Json;
    use crate::kinds::Schema;

    use super::*;

    #[test]
    fn numbers_within_the_bounds_match_and_no_others() {
        assert_eq!(numbers(0, 60), ["0", "[1-9]", "[1-5][0-9]", "60"]);
        assert_eq!(
            numbers(1, 366),
            ["[1-9][0-9]{0,1}", "[1-2][0-9]{2}", "3[0-5][0-9]", "36[0-6]"]
        );
        for (least, most) in [(0, 0), (0, 7), (1, 366), (300, 3_600), (9, 10), (99, 101), (7, 2_345)] {
            let pattern = format!("^({})$", numbers(least, most).join("|"));
            let schema = Schema::new(&Json::accepted(format!(r#"{{"pattern":"{pattern}"}}"#))).unwrap();
            for number in 0..=4_000 {
                let matches = schema.faults(&Json::accepted(format!("\"{number}\""))).is_empty();
                assert_eq!(
                    matches,
                    (least..=most).contains(&number),
                    "{number} within {least} and {most}"
                );
            }
        }
    }

    #[test]
    fn a_duration_is_a_number_of_units_within_bounds() {
        let schema = duration_schema(Duration::from_millis(300)..=Duration::from_secs(3_600));
        let schema = Schema::new(&Json::accepted(serde_json::to_string(&schema).unwrap())).unwrap();
        let fits = |text: &str| schema.faults(&Json::accepted(format!("\"{text}\""))).is_empty();
        for good in ["300ms", "1s", "3600s", "60m", "1h"] {
            assert!(fits(good), "{good}");
        }
        for bad in ["299ms", "0s", "3601s", "61m", "2h", "1d", "5", ""] {
            assert!(!fits(bad), "{bad}");
        }
    }
}
