//! A kind of work as applications have them, for measurements: 500 bytes of arguments, 200 of result, and an effect, so
//! that each handler is called only after its work was claimed. `pp_bench_worker` handles it, under several names.

use std::env;
use std::future::{pending, ready};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pp_lib::domain::{Json, KindName};
use pp_lib::kinds::{Context, Declaration, Failure, HandledKind, Handler, Handling, Kinds, Policy};

/// The variable that names the kinds of a worker, separated by commas.
pub const KINDS: &str = "BENCH_KINDS";
/// The kind whose works never end; all others are done at once.
pub const HANGS: &str = "bench.hangs";

/// The bytes of the arguments and of the result, as JSON.
const ARGS_BYTES: usize = 500;
const RESULT_BYTES: usize = 200;
const BEFORE: &str = r#"{"text":""#;
const BEHIND: &str = r#""}"#;

/// As many at once as sums.
const PLACES: u16 = 1_000;

/// The arguments of a letter with this number: no two have the same.
pub fn args(number: usize) -> String {
    let length = ARGS_BYTES - BEFORE.len() - BEHIND.len();
    let text: String = format!("{number:010} ").chars().cycle().take(length).collect();
    format!("{BEFORE}{text}{BEHIND}")
}

/// The result of these arguments; `None` if they are those of no letter.
pub fn result(args: &str) -> Option<String> {
    let text = args.strip_prefix(BEFORE)?.get(..RESULT_BYTES - 2)?;
    Some(format!("\"{text}\""))
}

/// The result of a row, in SQL.
pub(crate) const RIGHT: &str = "result #>> '{}' = left(args ->> 'text', 198) AND octet_length(args::text) = 500";

struct Letters;

impl Handler for Letters {
    fn handle(&self, args: Json, _: Context) -> Handling {
        let result = result(args.as_str()).map(Json::accepted);
        Box::pin(ready(result.ok_or_else(|| Failure::permanent("this is no letter"))))
    }
}

struct Hangs;

impl Handler for Hangs {
    fn handle(&self, _: Json, _: Context) -> Handling {
        Box::pin(pending())
    }
}

/// The kinds that [`KINDS`] names, and no others.
///
/// # Errors
/// When it names none.
pub fn kinds() -> Result<Kinds> {
    let names = env::var(KINDS).with_context(|| format!("{KINDS} names no kinds"))?;
    let mut kinds = Kinds::new();
    for name in names.split(',') {
        let handler: Arc<dyn Handler> = match name {
            HANGS => Arc::new(Hangs),
            _ => Arc::new(Letters),
        };
        let Ok(name) = name.parse::<KindName>() else {
            bail!("{KINDS}: {name} is no name of a kind")
        };
        let policy = Policy {
            places: PLACES,
            ..Policy::DEFAULT
        };
        kinds = kinds.with_handler(HandledKind {
            name,
            declaration: Declaration::of_policy(policy),
            handler,
        });
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_the_bytes_that_are_measured() {
        let args = args(7);
        let read: serde_json::Value = serde_json::from_str(&args).unwrap();
        let result = result(&args).unwrap();
        assert_eq!((args.len(), result.len()), (ARGS_BYTES, RESULT_BYTES));
        let text = read["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<String>(&result).unwrap(), text[..198]);
        assert_ne!(args, super::args(8));
        assert_eq!(super::result(r#"{"add_up_to":5}"#), None);
    }
}
