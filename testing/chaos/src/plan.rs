//! From a seed to the list of faults: which, when, whom, for how long. The same seed gives the same list.
//!
//! What the processes make of it, in which order threads and packets come, no seed decides.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::fault::Fault;

/// In a shorter run there is no time for the faults that only a sweep heals, which takes up to two minutes.
const ROUNDS_WITH_SWEEPS: u32 = 10;

/// One fault of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// What happens.
    pub fault: Fault,
    /// Which one of two is meant, 0 or 1.
    pub victim: usize,
    /// How long the load runs before it happens.
    pub strikes_after: Duration,
    /// How long it lasts before it is undone.
    pub lasts: Duration,
    /// How long the load goes on afterwards.
    pub load_after: Duration,
    /// What the load's own chance is drawn from.
    pub seed: u64,
}

/// The rounds of a run. Every kind comes before one comes again; those that destroy messages come once, and only in a
/// run of at least ten rounds.
pub fn rounds(count: u32, seed: u64, kinds: &[Fault]) -> Vec<Round> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut waiting: Vec<Fault> = Vec::new();
    let mut kinds = kinds.to_vec();
    if count < ROUNDS_WITH_SWEEPS {
        kinds.retain(|kind| !kind.destroys_messages());
    }
    (1..=count)
        .map(|number| {
            if waiting.is_empty() {
                waiting.clone_from(&kinds);
                waiting.shuffle(&mut rng);
                kinds.retain(|kind| !kind.destroys_messages());
            }
            let fault = waiting.pop().unwrap_or(Fault::ConsumerKilled);
            round(number, fault, &mut rng)
        })
        .collect()
}

fn round(number: u32, fault: Fault, rng: &mut StdRng) -> Round {
    let mut millis = |range| Duration::from_millis(rng.random_range(range));
    let (strikes_after, lasts, load_after) = (millis(1_000..=3_000), millis(fault.lasts_ms()), millis(1_000..=2_000));
    Round {
        number,
        fault,
        victim: rng.random_range(0..2),
        strikes_after,
        lasts,
        load_after,
        seed: rng.random(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn counts(rounds: &[Round]) -> HashMap<Fault, usize> {
        let mut counts = HashMap::new();
        for round in rounds {
            *counts.entry(round.fault).or_default() += 1;
        }
        counts
    }

    #[test]
    fn the_same_seed_gives_the_same_rounds_and_another_one_others() {
        let plan = |seed| rounds(30, seed, &Fault::DISTRIBUTED);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_comes_before_one_comes_again() {
        for seed in 0..50 {
            let all = Fault::DISTRIBUTED.len();
            let plan = rounds(u32::try_from(2 * all - 2).unwrap(), seed, &Fault::DISTRIBUTED);
            assert!(counts(&plan[..all]).values().all(|count| *count == 1), "seed {seed}");
            let again = counts(&plan[all..]);
            assert_eq!(again.len(), all - 2, "seed {seed}");
            assert!(!again.keys().any(|fault| fault.destroys_messages()), "seed {seed}");
        }
    }

    #[test]
    fn a_short_run_has_no_fault_that_waits_for_a_sweep() {
        for seed in 0..50 {
            let plan = rounds(9, seed, &Fault::DISTRIBUTED);
            assert!(!plan.iter().any(|round| round.fault.destroys_messages()), "seed {seed}");
        }
    }

    #[test]
    fn each_fault_lasts_as_long_as_its_kind_says() {
        for round in rounds(200, 3, &Fault::DISTRIBUTED) {
            let lasts = u64::try_from(round.lasts.as_millis()).unwrap();
            assert!(round.fault.lasts_ms().contains(&lasts), "{round:?}");
            assert!(round.victim < 2);
        }
    }
}
