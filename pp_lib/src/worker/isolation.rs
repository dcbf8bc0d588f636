//! Which messages are read, and which demands are computed, together.
//!
//! A redelivered message may have ended its worker, while it was read or while it was computed. The more often it
//! returns, the smaller its group. At last it is read alone, and computed alone after its row says `running`: an end of
//! the worker is then a lost lease. So what ends its workers is found and given up, and its neighbours go on.

use crate::broker::Delivery;
use crate::worker::attempt::Attempt;

/// The most messages that are read or computed together after they were redelivered once, twice, three times.
const TOGETHER: [usize; 3] = [250, 50, 10];

/// Splits a batch into the parts that are read one after the other: first deliveries come first. Each part is read,
/// computed and acknowledged before the next one is read.
pub(super) fn helpings(mut deliveries: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let times = |delivery: &Delivery| usize::try_from(delivery.delivery_count).unwrap_or(usize::MAX);
    // Stable: the order of their tags stays within a part.
    deliveries.sort_by_key(times);
    let mut helpings: Vec<Vec<Delivery>> = Vec::new();
    for delivery in deliveries {
        let fits = |helping: &&mut Vec<Delivery>| {
            times(&helping[0]) == times(&delivery) && helping.len() < most(times(&delivery))
        };
        match helpings.last_mut().filter(fits) {
            Some(helping) => helping.push(delivery),
            None => helpings.push(vec![delivery]),
        }
    }
    helpings
}

/// Splits attempts into groups that are computed and recorded together, one group after the other: first deliveries come
/// first.
pub(super) fn groups(mut attempts: Vec<Attempt>) -> Vec<Vec<Attempt>> {
    attempts.sort_by_key(care);
    let mut groups: Vec<Vec<Attempt>> = Vec::new();
    for attempt in attempts {
        let care_of_it = care(&attempt);
        let fits = |group: &&mut Vec<Attempt>| care(&group[0]) == care_of_it && group.len() < most(care_of_it.0);
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(attempt),
            None => groups.push(vec![attempt]),
        }
    }
    groups
}

/// Whether no other group may be computed beside this one: it may have crashed its worker.
pub(super) fn is_alone(group: &[Attempt]) -> bool {
    group.iter().any(|attempt| {
        let (times_lost, announced) = care(attempt);
        announced || times_lost > 0
    })
}

/// Whether the rows of a group say `running` before anything is computed, so that a crash of the worker is counted.
pub(super) fn is_announced(group: &[Attempt]) -> bool {
    group.iter().any(|attempt| care(attempt).1)
}

/// How often an attempt was lost, and whether it is announced: when it is computed alone, and from then on as long as it
/// loses the leases that it gets by that.
fn care(attempt: &Attempt) -> (usize, bool) {
    let times = attempt.times_lost();
    (times, times > TOGETHER.len() || attempt.lost_leases() > 0)
}

fn most(times_lost: usize) -> usize {
    match times_lost.checked_sub(1) {
        None => usize::MAX,
        Some(again) => TOGETHER.get(again).copied().unwrap_or(1),
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
                // A stopping worker handed one of them back.
                attempt: 4 + lost_leases,
            },
            failures: 2,
            lost_leases,
        };
        let mut attempt = Attempt::at_row(new_message_id(), "1".parse().unwrap(), row);
        attempt.delivery_count = delivery_count;
        attempt
    }

    #[test]
    fn what_was_redelivered_is_read_apart_from_its_neighbours() {
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
        let helpings = helpings(deliveries);
        let shape: Vec<(u32, usize)> = (helpings.iter())
            .map(|helping| (helping[0].delivery_count, helping.len()))
            .collect();
        assert_eq!(
            shape,
            [(0, 4), (1, 250), (1, 10), (3, 10), (3, 1), (4, 1), (4, 1), (4, 1)]
        );
        let first: Vec<u64> = helpings[0].iter().map(|delivery| delivery.tag).collect();
        assert_eq!(first, [1, 2, 265, 266]);
    }

    #[test]
    fn the_oftener_a_demand_comes_the_fewer_are_beside_it() {
        let attempts = [(0, 1000), (1, 300), (2, 60), (3, 20), (4, 2), (9, 1)];
        let attempts = attempts
            .into_iter()
            .flat_map(|(count, many)| (0..many).map(move |_| attempt(count, 0)));
        let groups = groups(attempts.collect());
        let shape: Vec<(usize, bool)> = groups.iter().map(|group| (group.len(), is_announced(group))).collect();
        let together = [1000, 250, 50, 50, 10, 10, 10].map(|many| (many, false));
        assert_eq!(shape, [&together[..], &[(1, true); 3]].concat());
        let alone: Vec<bool> = groups.iter().map(|group| is_alone(group)).collect();
        assert_eq!(alone, [&[false][..], &[true; 9]].concat());
    }

    #[test]
    fn lost_leases_count_like_deliveries_are_announced_and_failures_do_not_count() {
        assert_eq!(care(&attempt(0, 0)), (0, false));
        assert_eq!((care(&attempt(1, 3)), care(&attempt(5, 3))), ((3, true), (5, true)));
        let attempts = vec![attempt(1, 0), attempt(0, 1), attempt(0, 1), attempt(1, 0)];
        let shape: Vec<(usize, bool)> = groups(attempts)
            .iter()
            .map(|group| (group.len(), is_announced(group)))
            .collect();
        assert_eq!(shape, [(2, false), (2, true)]);
    }
}
