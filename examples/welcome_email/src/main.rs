//! All of PP in one process, with welcome mails.

use std::process::ExitCode;

use welcome_email::{Mailer, WelcomeEmail};

fn main() -> ExitCode {
    pp_standalone::main(async |kinds| Ok(kinds.with::<WelcomeEmail>(Mailer::from_env()?)))
}
