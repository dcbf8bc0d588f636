//! `pp_standalone`: all of PP in one process.

use std::process::ExitCode;

fn main() -> ExitCode {
    pp_standalone::main(async |kinds| Ok(kinds))
}
