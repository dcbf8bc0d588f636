//! Which deliveries to handle with care: something may be among them that takes the whole process down.
//!
//! A demand that does so comes again, with everything else its worker had. It is found by narrowing down: what comes
//! again is recorded as running before it is computed, a few at a time; what comes yet again, or has lost a worker
//! before, all by itself. So in the end it loses its leases alone, until there were too many.

use crate::broker::Delivery;

/// How many demands that came again are computed together.
const A_FEW: usize = 50;

/// How to compute demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caution {
    /// Compute, then record.
    None,
    /// Record as running, then compute.
    RecordFirst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    Nothing,
    CameAgain,
    LostAWorker,
}

/// Deliveries in groups to be computed one after the other, the harmless first.
pub(super) fn groups(deliveries: Vec<Delivery>) -> Vec<(Caution, Vec<Delivery>)> {
    let (mut harmless, mut again, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    let mut alone = Vec::new();
    for delivery in deliveries {
        match suspicion(&delivery) {
            Suspicion::Nothing => harmless.push(delivery),
            Suspicion::CameAgain => again.push(delivery),
            Suspicion::LostAWorker => alone.push(delivery),
        }
    }
    if !harmless.is_empty() {
        groups.push((Caution::None, harmless));
    }
    groups.extend(again.chunks(A_FEW).map(|few| (Caution::RecordFirst, few.to_vec())));
    groups.extend(alone.into_iter().map(|one| (Caution::RecordFirst, vec![one])));
    groups
}

fn suspicion(delivery: &Delivery) -> Suspicion {
    let properties = &delivery.properties;
    let attempts_before = properties.attempt.unwrap_or(1).saturating_sub(1);
    let lost = attempts_before.saturating_sub(properties.failures.unwrap_or(attempts_before));
    match (lost, delivery.delivery_count) {
        (1.., _) | (_, 2..) => Suspicion::LostAWorker,
        (_, 1) => Suspicion::CameAgain,
        _ => Suspicion::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::Properties;

    fn delivery(tag: u64, delivery_count: u32, attempt: Option<i32>, failures: Option<i32>) -> Delivery {
        let properties = Properties {
            attempt,
            failures,
            ..Properties::default()
        };
        Delivery {
            tag,
            delivery_count,
            properties,
            body: Bytes::new(),
        }
    }

    #[test]
    fn what_came_again_is_a_few_and_what_lost_a_worker_is_alone() {
        let mut deliveries = vec![
            delivery(1, 0, None, None),
            delivery(2, 2, None, None),
            delivery(3, 0, Some(4), Some(3)),
            delivery(4, 0, Some(4), Some(2)),
            delivery(5, 0, Some(1), Some(0)),
        ];
        deliveries.extend((6..66).map(|tag| delivery(tag, 1, None, None)));
        let told: Vec<(Caution, Vec<u64>)> = groups(deliveries)
            .into_iter()
            .map(|(caution, group)| (caution, group.iter().map(|delivery| delivery.tag).collect()))
            .collect();
        let expected = vec![
            (Caution::None, vec![1, 3, 5]),
            (Caution::RecordFirst, (6..56).collect()),
            (Caution::RecordFirst, (56..66).collect()),
            (Caution::RecordFirst, vec![2]),
            (Caution::RecordFirst, vec![4]),
        ];
        assert_eq!(told, expected);
        assert!(groups(Vec::new()).is_empty());
    }
}
