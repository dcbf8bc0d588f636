//! `pp_testkit`: the servers PP needs, for one command (`with-servers`) or until `down` (`up`).
//!
//! Only the command line lives here; each command has a file of its own in `commands`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what this program prints is its result"
)]

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pp_testkit::servers::Choice;

use crate::commands::{containers_test, down, install, logs, status, up, with_servers};

/// PostgreSQL, RabbitMQ and Redis for tests and for a system on this machine.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where the servers come from.
    #[arg(long, global = true, env = "PP_SERVERS", default_value = "auto")]
    servers: Choice,
    /// The folder that remembers what `up` started.
    #[arg(
        long,
        global = true,
        env = "PP_STATE_DIR",
        default_value = ".pp",
        value_name = "FOLDER"
    )]
    state_dir: PathBuf,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Runs a command with servers of its own, in PP_TEST_POSTGRES_URL, PP_TEST_RABBITMQ_URL and PP_TEST_REDIS_URL.
    WithServers(with_servers::Args),
    /// Starts what is missing: the servers, then the services.
    Up(up::Args),
    /// Shows what runs where.
    Status,
    /// Shows the logs of services and servers.
    Logs(logs::Args),
    /// Stops what `up` started, and makes sure of it.
    Down(down::Args),
    /// Proves on a Docker engine that PP runs as containers.
    ContainersTest,
    /// Installs the server packages that are missing.
    Install,
}

fn main() -> ExitCode {
    let Args {
        command,
        servers,
        state_dir,
    } = Args::parse();
    let result = match command {
        Command::WithServers(args) => with_servers::run(&args, servers),
        Command::Up(args) => up::run(&args, servers, &state_dir),
        Command::Status => status::run(&state_dir),
        Command::Logs(args) => logs::run(&args, &state_dir),
        Command::Down(args) => down::run(&args, &state_dir),
        Command::ContainersTest => containers_test::run(),
        Command::Install => install::run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pp_testkit: {error:#}");
        ExitCode::FAILURE
    })
}
