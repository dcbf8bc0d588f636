//! `pp_chaos_standalone`: the embedded system of a chaos run, with the kinds of the run beside the sum.

use std::process::ExitCode;

use pp_chaos::handlers::with_kinds;

fn main() -> ExitCode {
    pp_standalone::main(async |kinds| with_kinds(kinds))
}
