//! The program's own help: commands in groups, options, examples. Commands have clap's usual help.

use std::fmt::Write as _;

use clap::builder::Resettable;
use clap::builder::styling::{AnsiColor, Style};
use clap::{Arg, ArgAction, Args as _, Command, Subcommand as _};

use super::{Action, Options, WIDTH};

/// The groups of commands, in the order of the help. A test sees to it that each command is in one of them.
pub(super) const GROUPS: [(&str, &[&str]); 4] = [
    ("Works", &["work", "watch", "stats", "deadletter"]),
    ("Kinds and workers", &["kind", "worker"]),
    ("Access", &["key", "audit"]),
    ("This system", &["doctor", "completions", "man"]),
];

/// Commands from before there was `work`.
pub(super) const EARLIER: [&str; 7] = ["create", "search", "events", "update", "cancel", "retry", "delete"];

const HEADING: Style = Style::new().bold().underline();
const NAME: Style = AnsiColor::Cyan.on_default();

/// The template of the help.
pub(super) fn template() -> String {
    let actions = Action::augment_subcommands(Command::new("cli_01"));
    let about = |name: &str| {
        let about = actions.find_subcommand(name).and_then(Command::get_about);
        about.map(ToString::to_string).unwrap_or_default()
    };
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    // Writing to a string cannot fail.
    for (heading, names) in GROUPS {
        let _ = writeln!(text, "\n{HEADING}{heading}:{HEADING:#}");
        for name in names {
            let _ = writeln!(text, "  {NAME}{name:<11}{NAME:#}  {}", about(name));
        }
    }
    let _ = writeln!(text, "\n{HEADING}Earlier forms, which stay:{HEADING:#}");
    let _ = writeln!(
        text,
        "  {}, and --id and --work-code without a command",
        EARLIER.join(", ")
    );
    let _ = write!(text, "\n{}{{after-help}}", options());
    text
}

/// The options under their headings, without the commands, which clap would list again.
fn options() -> String {
    // Clap's own flag would say that there is more.
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help("Print help");
    let help = help.help_heading(Resettable::Reset);
    let command = Options::augment_args(Command::new("cli_01").version("0").disable_help_flag(true));
    let command = command.arg(help).max_term_width(WIDTH);
    let rendered = command.help_template("{all-args}").render_help().ansi().to_string();
    rendered.trim_end().to_owned()
}
