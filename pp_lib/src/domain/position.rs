//! A place in the change feed: which events a reader has seen.
//!
//! A number cannot say that. Transactions that run at the same time take their numbers early and commit late, so what is
//! new to a reader lies anywhere among what it has seen. A place therefore holds a [`Snapshot`]: the transactions that had
//! finished when the feed was read. Only a store makes places and reads on from them; everybody else hands them back, and
//! asks [`Position::includes`] instead of comparing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest text of a place, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// The transactions that had finished at a moment, and where their events lie. A store with one writer takes the id of
/// each event for its transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The first transaction that had not begun.
    pub next: i64,
    /// The transactions below `next` that were still open, in ascending order.
    pub open: Vec<i64>,
    /// Every event of a transaction from `next` on has an id above this one; 0 where that is not needed.
    pub above: i64,
    /// No event of a finished transaction has an id above this one; 0 where that is not needed.
    pub up_to: i64,
}

impl Snapshot {
    /// The most open transactions that a place can hold.
    pub const MAX_OPEN: usize = 512;

    /// A snapshot without open transactions.
    pub fn before(next: i64) -> Self {
        Self {
            next,
            open: Vec::new(),
            above: 0,
            up_to: 0,
        }
    }

    /// The oldest transaction that had not finished.
    pub fn oldest_unfinished(&self) -> i64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// True if every transaction that had finished at the other moment had finished at this one.
    fn includes(&self, other: &Self) -> bool {
        let mut still_open = self.open.iter().take_while(|tx| **tx < other.next);
        self.next >= other.next && still_open.all(|tx| other.open.binary_search(tx).is_ok())
    }
}

/// The position of a reader of the change feed. It has seen all events of the transactions of one snapshot and, part of
/// the way to a later snapshot, the events of that one up to an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    epoch: i64,
    seen: Arc<Snapshot>,
    towards: Option<(Arc<Snapshot>, i64)>,
}

impl Position {
    /// The place of a reader that has seen every event of a snapshot. Places of two epochs have nothing to do with each
    /// other.
    pub fn at(epoch: i64, seen: Arc<Snapshot>) -> Self {
        Self {
            epoch,
            seen,
            towards: None,
        }
    }

    /// The place of a reader on the way from one snapshot to another, which has the events up to an id.
    pub fn between(epoch: i64, seen: Arc<Snapshot>, next: Arc<Snapshot>, id: i64) -> Self {
        Self {
            epoch,
            seen,
            towards: Some((next, id)),
        }
    }

    /// The place of a reader that has seen nothing.
    pub fn beginning(epoch: i64) -> Self {
        Self::at(epoch, Arc::new(Snapshot::before(1)))
    }

    /// Which feed it is a place of.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The snapshot of which every event was seen.
    pub fn seen(&self) -> &Arc<Snapshot> {
        &self.seen
    }

    /// The snapshot of which events up to an id were seen as well.
    pub fn partly_seen(&self) -> Option<(&Arc<Snapshot>, i64)> {
        self.towards.as_ref().map(|(next, id)| (next, *id))
    }

    /// The snapshot that the reader has seen once it gets to where it is going.
    fn end(&self) -> &Arc<Snapshot> {
        self.towards.as_ref().map_or(&self.seen, |(next, _)| next)
    }

    /// True if a reader at this position has seen everything that one at the other has seen, or is about to see.
    pub fn includes(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.seen.includes(other.end())
    }

    /// The place from which a reader gets to a goal and no further. Where it is on its way to another place already, or
    /// past the goal, it is the place itself.
    pub fn towards(&self, goal: &Self) -> Self {
        if self.towards.is_some() || self.epoch != goal.epoch || self.includes(goal) {
            return self.clone();
        }
        Self::between(self.epoch, Arc::clone(&self.seen), Arc::clone(goal.end()), 0)
    }
}

/// A text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionError;

/// `next.open.open:above:more`: the open transactions by their distances, newest first; zeros at the end are left out.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.next)?;
        let mut above = self.next;
        for tx in self.open.iter().rev() {
            write!(f, ".{}", above - tx)?;
            above = *tx;
        }
        match (self.above, self.up_to.saturating_sub(self.above).max(0)) {
            (0, 0) => Ok(()),
            (above, 0) => write!(f, ":{above}"),
            (above, more) => write!(f, ":{above}:{more}"),
        }
    }
}

impl FromStr for Snapshot {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let mut transactions = parts.next().unwrap_or_default().split('.').map(number);
        let next = transactions.next().unwrap_or(Err(PositionError))?;
        let (mut open, mut last) = (Vec::new(), next);
        for distance in transactions {
            let distance = distance?;
            last -= distance;
            if distance == 0 || last < 1 || open.len() == Self::MAX_OPEN {
                return Err(PositionError);
            }
            open.push(last);
        }
        open.reverse();
        let above = parts.next().map_or(Ok(0), number)?;
        let more = parts.next().map_or(Ok(0), number)?;
        let up_to = above.checked_add(more).ok_or(PositionError)?;
        if next < 1 || parts.next().is_some() {
            return Err(PositionError);
        }
        Ok(Self {
            next,
            open,
            above,
            up_to,
        })
    }
}

/// `epoch-snapshot`, or on the way `epoch-snapshot-snapshot-id`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seen)?;
        self.towards
            .as_ref()
            .map_or(Ok(()), |(next, id)| write!(f, "-{next}-{id}"))
    }
}

impl FromStr for Position {
    type Err = PositionError;

    /// The places of versions before this one, `epoch-transaction-id`, are places of no feed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NO_FEED: i64 = -1;

        if text.len() > MAX_TEXT {
            return Err(PositionError);
        }
        match *text.split('-').collect::<Vec<_>>() {
            [epoch, seen] => Ok(Self::at(number(epoch)?, Arc::new(seen.parse()?))),
            [epoch, seen, next, id] => {
                let (seen, next) = (Arc::new(seen.parse()?), Arc::new(next.parse()?));
                Ok(Self::between(number(epoch)?, seen, next, number(id)?))
            }
            [epoch, transaction, id] => {
                number(epoch).and(number(transaction)).and(number(id))?;
                Ok(Self::beginning(NO_FEED))
            }
            _ => Err(PositionError),
        }
    }
}

/// A whole number of 63 bits, in digits alone.
fn number(text: &str) -> Result<i64, PositionError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(PositionError)
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a place in the change feed, as in 1764-9021:77")
    }
}

impl std::error::Error for PositionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(next: i64, open: &[i64]) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            open: open.to_vec(),
            ..Snapshot::before(next)
        })
    }

    fn at(next: i64, open: &[i64]) -> Position {
        Position::at(7, snapshot(next, open))
    }

    #[test]
    fn text_and_back() {
        let full = Snapshot {
            next: 820,
            open: vec![811, 815, 819],
            above: 402,
            up_to: 405,
        };
        let exact = Snapshot {
            up_to: 402,
            ..full.clone()
        };
        let seen = Arc::new(Snapshot { next: 825, ..exact });
        for (position, text) in [
            (Position::beginning(0), "0-1"),
            (at(811, &[]), "7-811"),
            (Position::at(7, Arc::new(full.clone())), "7-820.1.4.4:402:3"),
            (Position::at(7, Arc::clone(&seen)), "7-825.6.4.4:402"),
            (
                Position::between(7, snapshot(811, &[3]), Arc::new(full), 404),
                "7-811.808-820.1.4.4:402:3-404",
            ),
        ] {
            assert_eq!(position.to_string(), text);
            assert_eq!(text.parse(), Ok(position));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let many = format!("1-1000000{}", ".1".repeat(Snapshot::MAX_OPEN + 1));
        let long = format!("1-{}1", "0".repeat(MAX_TEXT));
        for bad in [
            "",
            "1",
            "1-",
            "-1",
            "1-0",
            "1-2-3-4-5",
            "1-2-x",
            "1--2-3",
            "-1-2-3",
            "1-2-9223372036854775808",
            "+1-2",
            " 1-2",
            "1-2 ",
            "1-9.0",
            "1-9.9",
            "1-9.",
            "1-9:",
            "1-9:1:2:3",
            "1-9:9223372036854775807:1",
            "1-9-9-",
            &many,
            &long,
        ] {
            assert_eq!(bad.parse::<Position>(), Err(PositionError), "{bad}");
        }
    }

    #[test]
    fn a_place_of_a_version_before_is_a_place_of_no_feed() {
        let old: Position = "1764-9021-77".parse().unwrap();
        assert!(old.epoch() < 0);
    }

    #[test]
    fn the_longest_place_is_read_again() {
        let most = i64::try_from(Snapshot::MAX_OPEN).unwrap();
        let open: Vec<i64> = (0..most).map(|number| 1_000_000_000_000 + 900 * number).collect();
        let last = snapshot(2_000_000_000_000, &open);
        let longest = Position::between(i64::MAX, Arc::clone(&last), last, i64::MAX);
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn a_place_includes_what_it_has_seen() {
        let early = at(10, &[4, 8]);
        for (place, includes) in [
            (at(10, &[4, 8]), true),
            (at(10, &[8]), true),
            (at(12, &[4, 8, 11]), true),
            (at(12, &[]), true),
            (at(9, &[]), false),
            (at(12, &[5]), false),
            (at(12, &[4, 9]), false),
        ] {
            assert_eq!(place.includes(&early), includes, "{place}");
        }
        assert!(!Position::at(8, snapshot(12, &[])).includes(&early), "another feed");
        let on_the_way = Position::between(7, snapshot(10, &[]), snapshot(20, &[]), 3);
        assert!(on_the_way.includes(&at(10, &[])) && !on_the_way.includes(&at(15, &[])));
        assert!(!at(15, &[]).includes(&on_the_way) && at(20, &[]).includes(&on_the_way));
    }

    #[test]
    fn a_reader_gets_to_its_goal_and_no_further() {
        let (here, goal) = (at(10, &[4]), at(20, &[15]));
        let way = here.towards(&goal);
        assert_eq!((way.seen(), way.partly_seen()), (here.seen(), Some((goal.seen(), 0))));
        assert_eq!(goal.towards(&here), goal);
        assert_eq!(way.towards(&at(30, &[])), way, "it arrives first");
    }
}
