//! The plan of a search, the same for both databases: it reads about as many rows as it shows.
//!
//! Each work that is shown stands in one index by status and origin, newest first. A search merges the part of each
//! status and origin that it asks for and stops when its page is full. Ids follow the time of creation closely, but not
//! exactly, so a search with `since` first asks the index by time from which id on it has to look; see [`Since`].

use super::Search;
use crate::domain::{Origin, PrefixSelection, Status, WorkCodePrefix};

/// Works on each side of `since` that are looked at.
pub(super) const AROUND: u16 = 1000;

/// With this many random characters, so few codes match that all of them are read.
const SELECTIVE: usize = 2;

/// The works that a search goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SearchPlan {
    /// Their statuses and origins, one index walk for each.
    pub(super) kinds: Vec<(Status, Origin)>,
    /// Codes from the first, inclusive, to the second, exclusive.
    pub(super) codes: Option<(String, String)>,
    /// True to read all works with these codes rather than walk.
    pub(super) by_code: bool,
}

/// The works that `since` leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Any time.
    Any,
    /// At most [`AROUND`] works are as young: these.
    Few(Vec<i64>),
    /// More are; none of them has a smaller id than this one.
    From(i64),
}

impl Search {
    /// The plan of the search; `None` if nothing can match.
    pub(super) fn plan(&self) -> Option<SearchPlan> {
        let (origins, codes) = match self.work_code.as_ref().map(WorkCodePrefix::selection) {
            None | Some(PrefixSelection::All) => (Origin::ALL.to_vec(), None),
            Some(PrefixSelection::Nothing) => return None,
            Some(PrefixSelection::Origins(origins)) => (origins, None),
            Some(PrefixSelection::Codes { from, to }) => {
                let origin = Origin::ALL
                    .into_iter()
                    .find(|origin| from.starts_with(origin.as_str()))?;
                (vec![origin], Some((from.to_owned(), to)))
            }
        };
        let dashed = |origin: &Origin| origin.as_str().len() + 1;
        let by_code = (codes.as_ref()).is_some_and(|(from, _)| from.len() >= dashed(&origins[0]) + SELECTIVE);
        let wanted = |status: &Status| self.status.is_none_or(|(named, within)| (*status == named) == within);
        let kinds = Status::ALL.into_iter().filter(wanted);
        Some(SearchPlan {
            kinds: kinds
                .flat_map(|status| origins.iter().map(move |origin| (status, *origin)))
                .collect(),
            codes,
            by_code,
        })
    }
}

impl SearchPlan {
    /// The kinds as SQL texts, status and origin in one.
    pub(super) fn kinds_in_sql(&self) -> String {
        let kinds: Vec<String> = (self.kinds.iter())
            .map(|(status, origin)| format!("'{status} {}'", origin.as_str()))
            .collect();
        kinds.join(", ")
    }
}

/// Conditions that take values, and the values in the order of their parameters.
pub(super) struct Conditions<V> {
    mark: char,
    pub(super) text: String,
    pub(super) values: Vec<V>,
}

impl<V> Conditions<V> {
    /// None yet; parameters are numbers behind this mark.
    pub(super) fn new(mark: char) -> Self {
        Self {
            mark,
            text: String::new(),
            values: Vec::new(),
        }
    }

    /// Takes a value; returns the parameter that stands for it.
    pub(super) fn bind(&mut self, value: V) -> String {
        self.values.push(value);
        format!("{}{}", self.mark, self.values.len())
    }

    pub(super) fn and(&mut self, compared: &str, value: V) {
        let parameter = self.bind(value);
        self.text += &format!(" AND {compared} ({parameter})");
    }
}

impl Since {
    /// From the ids of at most `AROUND + 1` works that were created then or later, the first ones first, and those of
    /// at most [`AROUND`] that were created before, the last ones first.
    ///
    /// An id is taken when its work is written, which is never before the moment that the work says it was created at.
    /// So whatever was created later has a larger id than the first ones written since. The works around that moment
    /// have those ids: also where some transactions wrote late, and where the clock was set back and went over the same
    /// moments twice.
    pub(super) fn of(later: Vec<i64>, before: &[i64]) -> Self {
        if later.len() <= usize::from(AROUND) {
            return Self::Few(later);
        }
        Self::From(later.iter().chain(before).copied().min().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(work_code: &str, status: Option<(Status, bool)>) -> Option<SearchPlan> {
        let search = Search {
            work_code: WorkCodePrefix::parse(work_code),
            kind: None,
            status,
            since: None,
            before: None,
            limit: 1,
        };
        search.plan()
    }

    #[test]
    fn a_search_goes_through_the_kinds_that_it_asks_for() {
        let kinds = |code, status| plan(code, status).unwrap().kinds;
        assert_eq!(kinds("", None).len(), 15);
        assert_eq!(kinds("a", None).len(), 10);
        assert_eq!(kinds("api-", None).len(), 5);
        assert_eq!(kinds("", Some((Status::Done, false))).len(), 12);
        assert_eq!(kinds("consumer-", Some((Status::Done, false))).len(), 4);
        let one = kinds("con", Some((Status::Failed, true)));
        assert_eq!(one, [(Status::Failed, Origin::Consumer)]);
        assert_eq!(plan("%", None), None);
    }

    #[test]
    fn few_codes_are_read_and_many_walked() {
        for (code, codes, by_code) in [
            ("", false, false),
            ("api-", false, false),
            ("api-a", true, false),
            ("api-ab", true, true),
            ("consumer-a", true, false),
            ("consumer-abcdefghij", true, true),
        ] {
            let plan = plan(code, None).unwrap();
            assert_eq!((plan.codes.is_some(), plan.by_code), (codes, by_code), "{code}");
        }
    }

    #[test]
    fn the_works_around_a_moment_say_from_where_to_look() {
        assert_eq!(Since::of(vec![], &[7]), Since::Few(vec![]));
        let many: Vec<i64> = (5000..).take(1001).collect();
        assert_eq!(
            Since::of(many[..1000].to_vec(), &[1]),
            Since::Few(many[..1000].to_vec())
        );
        assert_eq!(Since::of(many.clone(), &[]), Since::From(5000));
        assert_eq!(Since::of(many, &[4999, 3, 4998]), Since::From(3));
    }
}
