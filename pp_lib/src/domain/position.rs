//! A place in the order of all events.

use std::fmt;
use std::str::FromStr;

/// Where a reader of the change feed stands: behind everything up to here. Readers hand it back as they got it; as text
/// it is `epoch-tx-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Which feed it is of; positions of two epochs have nothing to do with each other.
    pub epoch: i64,
    /// The transaction that wrote the event; 0 where the store needs none for the order.
    pub tx: i64,
    /// The event.
    pub id: i64,
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.tx, self.id)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split('-').map(|number| {
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| number.parse().ok()).flatten().ok_or(PositionError)
        });
        let mut number = || numbers.next().unwrap_or(Err(PositionError));
        let position = Self {
            epoch: number()?,
            tx: number()?,
            id: number()?,
        };
        match numbers.next() {
            None => Ok(position),
            Some(_) => Err(PositionError),
        }
    }
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position in the feed is three whole numbers, as in 1764-9021-77")
    }
}

impl std::error::Error for PositionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let position = Position {
            epoch: 1764,
            tx: 9021,
            id: 77,
        };
        assert_eq!(position.to_string(), "1764-9021-77");
        assert_eq!("1764-9021-77".parse(), Ok(position));
        for bad in [
            "",
            "1",
            "1-2",
            "1-2-3-4",
            "1-2-x",
            "1--2-3",
            "-1-2-3",
            "1-2-9223372036854775808",
            "+1-2-3",
            " 1-2-3",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(PositionError), "{bad}");
        }
    }
}
