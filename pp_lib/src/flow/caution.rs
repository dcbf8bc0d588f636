//! Which demands are computed together. A demand that comes again was with a worker that is gone, and may be why: the
//! oftener it came, the fewer are computed beside it, and at last it is computed alone, with its row telling of it
//! beforehand: an end of the worker is then a lost lease. So what kills its workers is found and given up, and its
//! neighbours go on.

use super::jobs::Job;

/// How many demands are computed together at most that came again once, twice, three times.
const TOGETHER: [usize; 3] = [250, 50, 10];

/// Demands to be computed and recorded together.
pub(super) struct Group {
    pub(super) jobs: Vec<Job>,
    /// Whether nothing else may be computed meanwhile.
    pub(super) alone: bool,
    /// Whether the rows say `running` before anything is computed, so that an end of the worker is counted.
    pub(super) announced: bool,
}

/// The groups of a batch, to be worked off one after the other: those that came for the first time first.
pub(super) fn groups(mut jobs: Vec<Job>) -> Vec<Group> {
    jobs.sort_by_key(care);
    let mut groups: Vec<Group> = Vec::new();
    for job in jobs {
        let (times, announced) = care(&job);
        let fits = |group: &&mut Group| care(&group.jobs[0]) == (times, announced) && group.jobs.len() < most(times);
        match groups.last_mut().filter(fits) {
            Some(group) => group.jobs.push(job),
            None => groups.push(Group {
                jobs: vec![job],
                alone: announced || times > 0,
                announced,
            }),
        }
    }
    groups
}

/// How often it was lost, and whether to announce it: where it would be alone and, from then on, as long as it loses
/// the leases that it gets by that.
fn care(job: &Job) -> (usize, bool) {
    let times = job.times_lost();
    (times, times > TOGETHER.len() || job.attempt.lost_leases() > 0)
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
    use crate::domain::{Demand, DemandedRow};
    use crate::flow::attempt::Attempt;
    use crate::flow::new_message_id;

    fn job(delivery_count: u32, lost_leases: i32) -> Job {
        let row = DemandedRow {
            work_code: "api-0123456789".parse().unwrap(),
            generation: 1,
            // One of them was handed back by a worker that was stopped.
            attempt: 4 + lost_leases,
            failures: 2,
            lost_leases,
        };
        let demand = Demand {
            message_id: new_message_id(),
            add_up_to: "1".parse().unwrap(),
            row: Some(row),
            new_work_code: None,
        };
        Job {
            attempt: Attempt::new(demand, || unreachable!("there is a row")),
            tags: vec![1],
            delivery_count,
        }
    }

    #[test]
    fn the_oftener_a_demand_comes_the_fewer_are_beside_it() {
        let jobs = [(0, 1000), (1, 300), (2, 60), (3, 20), (4, 2), (9, 1)];
        let jobs = jobs
            .into_iter()
            .flat_map(|(count, many)| (0..many).map(move |_| job(count, 0)));
        let groups = groups(jobs.collect());
        let shape: Vec<(usize, bool)> = groups.iter().map(|group| (group.jobs.len(), group.announced)).collect();
        let together = [1000, 250, 50, 50, 10, 10, 10].map(|many| (many, false));
        assert_eq!(shape, [&together[..], &[(1, true); 3]].concat());
        let alone: Vec<bool> = groups.iter().map(|group| group.alone).collect();
        assert_eq!(alone, [&[false][..], &[true; 9]].concat());
    }

    #[test]
    fn lost_leases_count_like_deliveries_are_announced_and_failures_do_not_count() {
        assert_eq!(care(&job(0, 0)), (0, false));
        assert_eq!((care(&job(1, 3)), care(&job(5, 3))), ((3, true), (5, true)));
        let jobs = vec![job(1, 0), job(0, 1), job(0, 1), job(1, 0)];
        let shape: Vec<(usize, bool)> = groups(jobs)
            .iter()
            .map(|group| (group.jobs.len(), group.announced))
            .collect();
        assert_eq!(shape, [(2, false), (2, true)]);
    }
}
