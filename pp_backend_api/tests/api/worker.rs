//! Does the work of dispatchers and consumers directly in the store.

use std::time::Duration;

use pp_lib::domain::AddUpTo;
use pp_lib::store::{Claim, Completed, Completion, Guard, Outcome};
use serde_json::Value;

use super::faults::until;
use super::server::Server;

const HOLD: Duration = Duration::from_secs(60);

impl Server {
    /// Claims everything that is due.
    pub(crate) fn claimed(&self) -> Vec<Claim> {
        self.runtime.block_on(self.store.claim(&[], None, HOLD, 1000)).unwrap()
    }

    /// Claims due works until this one is among them. This work's claim is the last.
    pub(crate) fn claimed_until(&self, work: &Value) -> Vec<Claim> {
        let mut all: Vec<Claim> = Vec::new();
        until("the work is due", || {
            all.extend(self.claimed());
            all.sort_by_key(|claim| claim.id.0 == work["id"]);
            all.last().is_some_and(|claim| claim.id.0 == work["id"])
        });
        all
    }

    /// The claim of a work, once it is due. Other due works are claimed too.
    pub(crate) fn claim_of(&self, work: &Value) -> Claim {
        self.claimed_until(work).pop().unwrap()
    }

    /// Records the outcome of a claim.
    pub(crate) fn completed(&self, claim: &Claim, outcome: Outcome) -> Completed {
        let completion = Completion {
            message_id: claim.message_id.clone(),
            work_code: claim.work_code.clone(),
            args: Some(claim.args.clone()),
            guard: Guard::Pending(claim.run),
            outcome,
        };
        self.runtime
            .block_on(self.store.complete(&claim.kind, &[completion]))
            .unwrap()
            .remove(0)
    }

    /// Computes a due work.
    pub(crate) fn compute(&self, work: &Value) {
        let claim = self.claim_of(work);
        let result = AddUpTo::of_args(&claim.args).unwrap().sum();
        assert_eq!(
            self.completed(&claim, Outcome::Done { result: result.into() }),
            Completed::Applied
        );
    }

    /// A new work that failed for this reason.
    pub(crate) fn failed(&self, reason: &str) -> Value {
        let work = self.created(13);
        let reason = reason.to_owned();
        let claim = self.claim_of(&work);
        assert_eq!(self.completed(&claim, Outcome::Failed { reason }), Completed::Applied);
        self.work(&work)
    }

    /// The current work.
    pub(crate) fn work(&self, work: &Value) -> Value {
        let answer = self.get(&format!("/work/{}", work["id"]));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The history of a work: variables and values.
    pub(crate) fn history(&self, work: &Value) -> Vec<(String, String)> {
        let events = self.get(&format!("/work/{}/events", work["id"])).json();
        let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        let told = |event| (text(event, "variable"), text(event, "value"));
        events.as_array().unwrap().iter().map(told).collect()
    }

    /// The number of works, at most a thousand.
    pub(crate) fn count(&self) -> usize {
        self.get("/work?limit=1000").json().as_array().unwrap().len()
    }
}
