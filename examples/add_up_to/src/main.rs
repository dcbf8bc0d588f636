//! All of PP in one process, with sums of which some fail.

use std::process::ExitCode;

use add_up_to::AddUpTo;

fn main() -> ExitCode {
    pp_standalone::main(async |kinds| Ok(kinds.with::<AddUpTo>(())))
}
