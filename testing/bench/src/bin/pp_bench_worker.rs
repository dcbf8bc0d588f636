//! `pp_bench_worker`: the worker of measurements of kinds. `make bench` starts it; it is no part of PP.

use std::process::ExitCode;

use pp_bench::letters;

fn main() -> ExitCode {
    task_consumer::main(async |_| letters::kinds())
}
