//! A line of the table: what was measured how often, the limit beside it, and what it was to reach.

use super::statistics::{Spread, number};

/// One figure.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Of its values.
    pub unit: &'static str,
    /// One for each run.
    pub values: Vec<f64>,
    /// What the machine does without PP.
    pub limit: Option<Limit>,
    /// What it was to reach, all of it.
    pub goals: Vec<Goal>,
    /// How it was measured, and what else was seen.
    pub notes: Vec<String>,
}

/// What a figure is compared with, in the figure's own unit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What was measured.
    pub what: &'static str,
    /// One for each run.
    pub values: Vec<f64>,
}

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// So many times the limit, or more.
    TimesLimit(f64),
}

impl Line {
    /// A figure without anything beside it.
    pub(super) fn new(what: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            unit,
            values,
            limit: None,
            goals: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// With a limit.
    pub(super) fn limit(mut self, what: &'static str, values: &[f64]) -> Self {
        let values = values.to_vec();
        self.limit = Some(Limit { what, values });
        self
    }

    /// With one more goal.
    pub(super) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// With one more note.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// What its runs came to; nothing when one of them came to nothing.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&self.values)
    }

    /// The median over the median of the limit.
    pub fn ratio(&self) -> Option<f64> {
        let limit = Spread::of(&self.limit.as_ref()?.values)?.median;
        (limit != 0.0).then_some(self.spread()?.median / limit)
    }

    /// Whether the median reaches all goals; nothing when there are none.
    pub fn reached(&self) -> Option<bool> {
        let reached = |goal: &Goal| {
            let median = self.spread().map(|spread| spread.median);
            match *goal {
                Goal::AtLeast(least) => median.is_some_and(|median| median >= least),
                Goal::AtMost(most) => median.is_some_and(|median| median <= most),
                Goal::TimesLimit(times) => self.ratio().is_some_and(|ratio| ratio >= times),
            }
        };
        (!self.goals.is_empty()).then(|| self.goals.iter().all(reached))
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |value: f64| match value.fract() == 0.0 && value < 1000.0 {
            true => format!("{value:.0}"),
            false => number(value),
        };
        match *self {
            Self::AtLeast(least) => write!(f, "≥ {}", short(least)),
            Self::AtMost(most) => write!(f, "≤ {}", short(most)),
            Self::TimesLimit(times) if times < 1.0 => write!(f, "≥ {:.0} % of it", times * 100.0),
            Self::TimesLimit(times) => write!(f, "≥ {} × it", short(times)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: f64) -> Line {
        Line::new("x", "works/s", vec![value]).limit("raw", &[90.0, 100.0, 300.0])
    }

    #[test]
    fn all_goals_must_be_reached() {
        let goals = |value| line(value).goal(Goal::AtLeast(50.0)).goal(Goal::TimesLimit(0.6));
        assert_eq!(goals(60.0).reached(), Some(true));
        assert_eq!(goals(59.0).reached(), Some(false), "a share that is too small");
        assert_eq!(goals(49.0).reached(), Some(false));
        assert_eq!(line(60.0).reached(), None, "nothing was to be reached");
        assert_eq!(line(5.0).goal(Goal::AtMost(5.0)).reached(), Some(true));
        assert_eq!(line(5.1).goal(Goal::AtMost(5.0)).reached(), Some(false));
    }

    #[test]
    fn what_was_not_measured_reaches_nothing() {
        let nothing = Line::new("x", "ms", vec![]).goal(Goal::AtMost(5.0));
        assert_eq!((nothing.spread(), nothing.reached()), (None, Some(false)));
        let unlimited = Line::new("x", "ms", vec![1.0]).goal(Goal::TimesLimit(0.1));
        assert_eq!((unlimited.ratio(), unlimited.reached()), (None, Some(false)));
    }

    #[test]
    fn goals_are_written_as_they_are_read() {
        let goals = [
            Goal::AtLeast(45_000.0),
            Goal::AtMost(1.2),
            Goal::AtMost(15.0),
            Goal::TimesLimit(0.6),
            Goal::TimesLimit(3.0),
        ];
        let written = goals.map(|goal| goal.to_string());
        assert_eq!(written, ["≥ 45,000", "≤ 1.20", "≤ 15", "≥ 60 % of it", "≥ 3 × it"]);
    }
}
