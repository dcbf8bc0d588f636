//! What requests carry: bodies and query parameters.

use pp_lib::domain::{AddUpTo, DeadLetterId, Json, Problem, Status};
use pp_lib::serving::CreateWork;
use pp_lib::store::{LetterFilter, Search, Selection};

/// A problem with its first fault, in one line.
pub(super) fn sentence(problem: &Problem) -> String {
    match problem.errors.first() {
        Some(fault) => format!("{}: {} {}", problem.detail, fault.pointer, fault.detail),
        None => problem.detail.clone(),
    }
}

/// The selected letters as query parameters.
pub(super) fn letters_parameters(which: &Selection, dry_run: bool) -> Vec<(&'static str, String)> {
    let mut parameters = match which {
        Selection::Ids(ids) => {
            let ids: Vec<String> = ids.iter().map(DeadLetterId::to_string).collect();
            vec![("ids", ids.join(","))]
        }
        all if *all == Selection::ALL => vec![("all", "true".to_owned())],
        Selection::Matching(filter) => filter_parameters(filter).collect(),
    };
    if dry_run {
        parameters.push(("dry_run", "true".to_owned()));
    }
    parameters
}

pub(super) fn filter_parameters(filter: &LetterFilter) -> impl Iterator<Item = (&'static str, String)> {
    let kind = filter.kind.as_ref().map(|kind| ("kind", kind.to_string()));
    let error = filter.error.clone().map(|error| ("error", error));
    kind.into_iter().chain(error)
}

/// The request body, or `None` if nothing was specified.
pub(super) fn body(wanted: &CreateWork) -> Option<String> {
    let CreateWork {
        kind,
        args,
        run_at,
        unique,
        notify,
    } = wanted;
    let kind = (!kind.is_add_up_to()).then(|| format!("\"kind\":\"{kind}\""));
    let args = args.as_ref().map(args_field);
    let run_at = run_at.map(|second| format!("\"run_at\":{second}"));
    let unique = unique
        .as_ref()
        .map(|unique| format!("\"unique\":{}", serde_json::Value::from(unique.as_str())));
    let notify = notify.as_ref().map(|url| format!("\"notify\":\"{url}\""));
    let fields: Vec<String> = [kind, args, run_at, unique, notify].into_iter().flatten().collect();
    (!fields.is_empty()).then(|| format!("{{{}}}", fields.join(",")))
}

/// The field for arguments. A sum has the form that every version of the API knows.
pub(super) fn args_field(args: &Json) -> String {
    match AddUpTo::of_args(args) {
        Ok(bound) => format!("\"add_up_to\":{bound}"),
        Err(_) => format!("\"args\":{args}"),
    }
}

/// The search as query parameters of the API.
pub(super) fn parameters(search: &Search) -> Vec<(&'static str, String)> {
    let status = search.status.map(|wanted| match wanted {
        (Status::Done, done) => ("done", done.to_string()),
        (status, _) => ("status", status.to_string()),
    });
    let work_code = search
        .work_code
        .as_ref()
        .map(|prefix| ("work_code", prefix.as_str().to_owned()));
    let kind = search.kind.as_ref().map(|kind| ("kind", kind.to_string()));
    let since = search.since.map(|since| ("since", since.to_string()));
    let before = search.before.map(|before| ("before", before.to_string()));
    let limit = ("limit", search.limit.to_string());
    [work_code, kind, status, since, before, Some(limit)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_becomes_a_query() {
        let search = Search {
            work_code: pp_lib::domain::WorkCodePrefix::parse("api-&x"),
            kind: Some("user.welcome".parse().unwrap()),
            status: Some((Status::Done, false)),
            since: Some(7),
            before: None,
            limit: 3,
        };
        let expected = [
            ("work_code", "api-&x"),
            ("kind", "user.welcome"),
            ("done", "false"),
            ("since", "7"),
            ("limit", "3"),
        ];
        assert_eq!(
            parameters(&search),
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }
}
