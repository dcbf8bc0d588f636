//! The kinds: works that wait without anybody who does them.

use pp_lib::domain::{KindName, Stats};
use serde_json::Value;

use super::Checked;
use crate::failure::one_line;

/// The name of a kind with pending works, which may be scheduled for later.
pub(super) fn pending(kind: &Value) -> Option<KindName> {
    let some = kind["works"]["pending"].as_i64() > Some(0);
    kind["name"].as_str().filter(|_| some)?.parse().ok()
}

/// Leaves out works that are scheduled for later, with the counters of the kind.
pub(super) fn leave_out_scheduled(kind: &mut Value, stats: &Stats) {
    let running = kind["works"]["running"].as_i64().unwrap_or(0);
    kind["works"]["pending"] = Value::from((stats.backlog - running).max(0));
}

/// Looks at kinds as the API shows them.
pub(super) fn look(checked: &mut Checked, kinds: &[Value]) {
    let before = checked.0.len();
    for kind in kinds {
        let name = one_line(kind["name"].as_str().unwrap_or_default());
        let check = format!("kind {name}");
        let waiting = kind["works"]["pending"].as_i64().unwrap_or(0);
        let wait = match waiting {
            1 => "one work waits".to_owned(),
            count => format!("{count} works wait"),
        };
        let is = |field: &Value| field.as_bool() == Some(true);
        if let Some(fault) = kind["fault"].as_str() {
            checked.wrong(
                &check,
                format!("its policy is not used: {}", one_line(fault)),
                format!("change it, as with `cli_01 kind set {name} SETTING=VALUE`"),
            );
        }
        if waiting == 0 {
            continue;
        }
        if !is(&kind["is_declared"]) {
            checked.wrong(
                &check,
                format!("{wait}, and nobody has declared it"),
                format!("start a worker with it, or run `cli_01 kind declare {name}`"),
            );
        } else if is(&kind["policy"]["paused"]) {
            checked.note(
                &check,
                format!("{wait} while it is paused"),
                format!("run `cli_01 kind resume {name}` when it may go on"),
            );
        } else if !is(&kind["has_worker"]) {
            let worker = match kind["delivery"].as_str() {
                Some("pull") => format!("start its worker; GET /kind/{name}/worker.py is one"),
                _ => "start a task_consumer that has it".to_owned(),
            };
            checked.wrong(
                &check,
                format!("{wait}, and no worker was heard of"),
                format!("{worker}, or run `cli_01 kind pause {name}`"),
            );
        }
    }
    if checked.0.len() == before {
        let count = kinds.len();
        checked.ok("kinds", format!("{count} known; none waits for a worker"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_kinds_with_waiting_works_need_a_worker() {
        let kind = |name: &str, pending: i64, is_declared: bool, has_worker: bool, paused: bool| {
            json!({"name": name, "works": {"pending": pending}, "is_declared": is_declared,
                "has_worker": has_worker, "policy": {"paused": paused}, "delivery": "pull"})
        };
        let mut checked = Checked::default();
        look(
            &mut checked,
            &[
                kind("idle", 0, true, false, false),
                kind("served", 5, true, true, false),
                kind("alone", 5, true, false, false),
                kind("halted", 1, true, false, true),
                kind("strange", 2, false, false, false),
            ],
        );
        let found: Vec<_> = checked
            .0
            .iter()
            .map(|one| (one.check.as_str(), one.level.as_str()))
            .collect();
        let expected = [
            ("kind alone", "wrong"),
            ("kind halted", "note"),
            ("kind strange", "wrong"),
        ];
        assert_eq!(found, expected);
        assert_eq!(checked.0[0].found, "5 works wait, and no worker was heard of");
        assert!(checked.0[0].advice.contains("/kind/alone/worker.py"), "{checked:?}");
        let mut checked = Checked::default();
        look(&mut checked, &[kind("idle", 0, true, false, false)]);
        assert_eq!(checked.0[0].found, "1 known; none waits for a worker");
    }
}
