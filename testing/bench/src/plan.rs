//! How much is measured how often: the whole, and the quick run; each number can be set by hand.

use std::time::Duration;

/// What can be set by hand.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Fewer and shorter runs, for a first impression.
    #[arg(long)]
    pub quick: bool,
    /// How often short measurements are repeated [default: 5, quick 3].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,
    /// How long each of them takes [unit: seconds] [default: 5, quick 2].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: Option<u32>,
    /// How many demands are drained [default: 200000, quick 40000].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub demands: Option<u32>,
    /// How many clients follow the live stream [default: 10000, quick 1000].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: Option<u32>,
    /// Sizes of the table for search and growth, smallest first [default: search 1000,100000,1000000, quick without
    /// the last; growth 10000,1000000,10000000].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub rows: Vec<u32>,
    /// Sizes of the backlog at which memory is read, smallest first [default: 10000,100000,300000,1000000, quick
    /// 10000,50000,100000].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub backlog: Vec<u32>,
}

/// What that comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How often short measurements are repeated.
    pub(super) rounds: usize,
    /// How often long ones are.
    pub(super) long_rounds: usize,
    /// How long a short one takes.
    pub(super) time: Duration,
    pub(super) demands: usize,
    pub(super) clients: u64,
    pub(super) search_rows: Vec<i64>,
    pub(super) growth_rows: Vec<i64>,
    pub(super) backlog: Vec<usize>,
}

impl From<&Options> for Plan {
    fn from(options: &Options) -> Self {
        let either = |quick: u32, whole: u32| if options.quick { quick } else { whole };
        let rounds = options.rounds.unwrap_or(either(3, 5)) as usize;
        let seconds = options.seconds.unwrap_or(either(2, 5));
        let (search, backlog): (&[u32], &[u32]) = match options.quick {
            true => (&[1_000, 100_000], &[10_000, 50_000, 100_000]),
            false => (&[1_000, 100_000, 1_000_000], &[10_000, 100_000, 300_000, 1_000_000]),
        };
        let growth: &[u32] = &[10_000, 1_000_000, 10_000_000];
        let or = |set: &[u32], default: &[u32]| if set.is_empty() { default.to_vec() } else { set.to_vec() };
        let rows = |default| or(&options.rows, default).into_iter().map(i64::from).collect();
        Self {
            rounds,
            long_rounds: rounds.min(either(1, 3) as usize),
            time: Duration::from_secs(seconds.into()),
            demands: options.demands.unwrap_or(either(40_000, 200_000)) as usize,
            clients: options.clients.unwrap_or(either(1_000, 10_000)).into(),
            search_rows: rows(search),
            growth_rows: rows(growth),
            backlog: or(&options.backlog, backlog)
                .into_iter()
                .map(|size| size as usize)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_run_has_the_numbers_of_the_goals() {
        let plan = Plan::from(&Options::default());
        assert_eq!((plan.rounds, plan.demands, plan.clients), (5, 200_000, 10_000));
        assert_eq!(plan.search_rows, [1_000, 100_000, 1_000_000]);
        assert_eq!((plan.backlog[0], plan.backlog[3]), (10_000, 1_000_000));
    }

    #[test]
    fn the_quick_run_is_shorter_in_all() {
        let quick = Plan::from(&Options {
            quick: true,
            ..Options::default()
        });
        let whole = Plan::from(&Options::default());
        assert!(quick.rounds < whole.rounds && quick.time < whole.time && quick.demands < whole.demands);
        assert!(quick.search_rows.len() < whole.search_rows.len());
        assert!(quick.backlog.last() < whole.backlog.last());
    }

    #[test]
    fn what_is_set_by_hand_wins() {
        let plan = Plan::from(&Options {
            quick: true,
            rounds: Some(1),
            seconds: Some(9),
            demands: Some(7),
            clients: Some(3),
            rows: vec![5],
            backlog: vec![4, 6],
        });
        assert_eq!(
            (plan.rounds, plan.long_rounds, plan.demands, plan.clients),
            (1, 1, 7, 3)
        );
        assert_eq!(plan.time, Duration::from_secs(9));
        assert_eq!((plan.search_rows, plan.growth_rows), (vec![5], vec![5]));
        assert_eq!(plan.backlog, [4, 6]);
    }
}
