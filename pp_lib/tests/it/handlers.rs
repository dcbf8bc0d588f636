//! Handlers that several tests use.

use pp_lib::domain::{AddUpTo, Json};
use pp_lib::kinds::{Context, Failure, Handler, Handling};

/// The sum 1 + 2 + … + `add_up_to`.
#[derive(Clone, Copy)]
pub(crate) struct Sums;

impl Handler for Sums {
    fn handle(&self, args: Json, _: Context) -> Handling {
        let sum = AddUpTo::of_args(&args).map(|bound| bound.sum().into());
        Box::pin(std::future::ready(sum.map_err(Failure::retry)))
    }

    fn is_pure(&self) -> bool {
        true
    }
}

/// Bounds that end in 3 fail for good, bounds that end in 7 fail for the first two attempts, bounds that end in 9 panic;
/// all others are summed up.
#[derive(Clone, Copy)]
pub(crate) struct FailingSums;

impl Handler for FailingSums {
    fn handle(&self, args: Json, context: Context) -> Handling {
        let (bound, attempt) = (AddUpTo::of_args(&args).unwrap(), context.run().attempt);
        Box::pin(async move {
            match bound.get() % 10 {
                3 => Err(Failure::permanent(format_args!("{bound} ends in 3"))),
                7 if attempt <= 2 => Err(Failure::retry(format_args!("{bound} ends in 7, attempt {attempt}"))),
                9 => panic!("{bound} ends in 9"),
                _ => Ok(bound.sum().into()),
            }
        })
    }

    fn is_pure(&self) -> bool {
        true
    }
}
