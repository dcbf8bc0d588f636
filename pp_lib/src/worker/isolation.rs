//! Groups messages that are decoded together and demands that are computed together.
//!
//! A redelivered message may have crashed its worker while it was decoded or computed. The more often it returns, the
//! smaller its group. Finally it is decoded alone, and computed alone after its row is recorded as `running`, so that a
//! crash of the worker counts as a lost lease. This finds and gives up demands that crash their workers, while their
//! neighbours proceed.

use crate::broker::Delivery;
use crate::worker::attempt::Attempt;

/// The maximum group sizes after one, two and three redeliveries.
const GROUP_LIMITS: [usize; 3] = [250, 50, 10];

/// Splits a batch into groups, first deliveries first. Each group is decoded, computed and acknowledged before the next
/// one is decoded.
pub(super) fn delivery_groups(deliveries: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let times = |delivery: &Delivery| usize::try_from(delivery.delivery_count).unwrap_or(usize::MAX);
    groups(deliveries, times, |times| group_limit(*times))
}

/// Splits attempts into groups that are computed and recorded together, first deliveries first.
pub(super) fn attempt_groups(attempts: Vec<Attempt>) -> Vec<Vec<Attempt>> {
    groups(attempts, isolation, |(times_lost, _)| group_limit(*times_lost))
}

/// Splits items into groups of the same isolation, least isolated first.
fn groups<T, I: Ord>(mut items: Vec<T>, isolation: impl Fn(&T) -> I, limit: impl Fn(&I) -> usize) -> Vec<Vec<T>> {
    // The sort is stable: tags keep their order within a group.
    items.sort_by_key(&isolation);
    let mut groups: Vec<Vec<T>> = Vec::new();
    for item in items {
        let of_this = isolation(&item);
        let fits = |group: &&mut Vec<T>| isolation(&group[0]) == of_this && group.len() < limit(&of_this);
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// True if the group may have crashed a worker, so that no other group may be computed beside it.
pub(super) fn is_alone(group: &[Attempt]) -> bool {
    group.iter().any(|attempt| {
        let (times_lost, announced) = isolation(attempt);
        announced || times_lost > 0
    })
}

/// True if the group's rows are recorded as `running` before the computation, so that a crash of the worker is counted.
pub(super) fn is_announced(group: &[Attempt]) -> bool {
    group.iter().any(|attempt| isolation(attempt).1)
}

/// The number of workers lost with an attempt, and whether it is announced: once it is computed alone, and as long as
/// its announced attempts lose their leases.
fn isolation(attempt: &Attempt) -> (usize, bool) {
    let times = attempt.times_lost();
    (times, times > GROUP_LIMITS.len() || attempt.lost_leases() > 0)
}

fn group_limit(times_lost: usize) -> usize {
    match times_lost.checked_sub(1) {
        None => usize::MAX,
        Some(again) => GROUP_LIMITS.get(again).copied().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DemandedRow, Run};
    use crate::runtime::new_message_id;

    fn attempt(delivery_count: u32, lost_leases: i32) -> Attempt {
        let row = DemandedRow {
            work_code: "api-0123456789".parse().unwrap(),
            run: Run {
                generation: 1,
                // One attempt was handed back by a stopping worker.
                attempt: 4 + lost_leases,
            },
            failures: 2,
            lost_leases,
        };
        let mut attempt = Attempt::at_row(new_message_id(), None, row);
        attempt.delivery_count = delivery_count;
        attempt
    }

    #[test]
    fn redelivered_messages_are_decoded_in_smaller_groups() {
        let delivery = |tag: u64, delivery_count: u32| Delivery {
            tag,
            delivery_count,
            properties: crate::broker::Properties::default(),
            body: bytes::Bytes::new(),
        };
        let again = [(0, 2), (4, 2), (1, 260), (0, 2), (3, 11), (4, 1)];
        let counts = again
            .into_iter()
            .flat_map(|(count, many)| (0..many).map(move |_| count));
        let deliveries = counts.zip(1..).map(|(count, tag)| delivery(tag, count)).collect();
        let groups = delivery_groups(deliveries);
        let shape: Vec<(u32, usize)> = (groups.iter())
            .map(|group| (group[0].delivery_count, group.len()))
            .collect();
        assert_eq!(
            shape,
            [(0, 4), (1, 250), (1, 10), (3, 10), (3, 1), (4, 1), (4, 1), (4, 1)]
        );
        let first: Vec<u64> = groups[0].iter().map(|delivery| delivery.tag).collect();
        assert_eq!(first, [1, 2, 265, 266]);
    }

    #[test]
    fn redelivered_demands_are_computed_in_smaller_groups() {
        let attempts = [(0, 1000), (1, 300), (2, 60), (3, 20), (4, 2), (9, 1)];
        let attempts = attempts
            .into_iter()
            .flat_map(|(count, many)| (0..many).map(move |_| attempt(count, 0)));
        let groups = attempt_groups(attempts.collect());
        let shape: Vec<(usize, bool)> = groups.iter().map(|group| (group.len(), is_announced(group))).collect();
        let together = [1000, 250, 50, 50, 10, 10, 10].map(|many| (many, false));
        assert_eq!(shape, [&together[..], &[(1, true); 3]].concat());
        let alone: Vec<bool> = groups.iter().map(|group| is_alone(group)).collect();
        assert_eq!(alone, [&[false][..], &[true; 9]].concat());
    }

    #[test]
    fn lost_leases_count_like_redeliveries_and_failures_do_not() {
        assert_eq!(isolation(&attempt(0, 0)), (0, false));
        assert_eq!(
            (isolation(&attempt(1, 3)), isolation(&attempt(5, 3))),
            ((3, true), (5, true))
        );
        let attempts = vec![attempt(1, 0), attempt(0, 1), attempt(0, 1), attempt(1, 0)];
        let shape: Vec<(usize, bool)> = attempt_groups(attempts)
            .iter()
            .map(|group| (group.len(), is_announced(group)))
            .collect();
        assert_eq!(shape, [(2, false), (2, true)]);
    }
}
