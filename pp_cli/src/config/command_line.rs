//! Reads a program's arguments from the command line and the environment, and reports an error as one line.
//!
//! Each program defines its arguments and checks their combination.

use std::env;
use std::ffi::OsString;
use std::process;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Parser};

use super::LogFormat;
use crate::logging;

/// The exit code for an unusable command line or setting.
pub(crate) const USAGE: u8 = 2;

/// Reads the arguments of this process. After `--help` and `--version` it ends the process with 0. After an error it
/// writes one line that names the flag or the variable to standard error and ends the process with 2.
pub fn command_line<P: Parser>() -> P {
    P::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        let line = one_line(&error, P::command());
        logging::fatal(
            line,
            log_format(&P::command(), env::args_os(), env::var_os("PP_LOG_FORMAT")),
        );
        process::exit(USAGE.into())
    })
}

/// The log format that an invalid command line asks for.
fn log_format(command: &Command, args: impl IntoIterator<Item = OsString>, variable: Option<OsString>) -> LogFormat {
    const FLAG: &str = "log-format";
    let mut asked_for = variable;
    if !command.get_arguments().any(|arg| arg.get_long() == Some(FLAG)) {
        asked_for = None;
    }
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.to_str().and_then(|arg| arg.strip_prefix("--")?.strip_prefix(FLAG)) {
            Some("") => asked_for = args.next(),
            Some(value) => asked_for = value.strip_prefix('=').map(OsString::from),
            None => {}
        }
    }
    match asked_for {
        Some(format) if format == "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

/// The first paragraph of clap's message. The paragraphs after it explain usage.
fn one_line(error: &clap::Error, mut command: Command) -> String {
    // Clap knows the names of arguments only after the command was built.
    command.build();
    let text = error.to_string();
    let words: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let line = format!("{line}{}", suggestion(error));
    match variable(error, &command) {
        Some(variable) => format!("{variable}: {line}"),
        None => line,
    }
}

/// The known names that are like a mistyped one.
fn suggestion(error: &clap::Error) -> String {
    let kinds = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let names: &[String] = match kinds.into_iter().find_map(|kind| error.get(kind)) {
        Some(ContextValue::String(name)) => std::slice::from_ref(name),
        Some(ContextValue::Strings(names)) => names,
        _ => &[],
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// The variable of the wrong value, unless a flag set the value.
fn variable(error: &clap::Error, command: &Command) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else {
        return None;
    };
    let variable = arguments(command).find(|arg| arg.to_string() == *flag)?.get_env()?;
    (env::var(variable).ok()? == *value).then(|| variable.to_string_lossy().into_owned())
}

fn arguments(command: &Command) -> Box<dyn Iterator<Item = &Arg> + '_> {
    let below = command.get_subcommands().flat_map(arguments);
    Box::new(command.get_arguments().chain(below))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[derive(Debug, Parser)]
    struct Args {
        #[arg(long)]
        _quick: bool,
        // PATH stands in for a variable of PP, since a test cannot set one safely.
        #[arg(long, env = "PATH", value_parser = super::super::whole(1..=9_u8))]
        count: u8,
        #[arg(long)]
        id: u8,
    }

    fn line(args: &[&str]) -> String {
        let error = Args::try_parse_from([&["program"], args].concat()).unwrap_err();
        one_line(&error, Args::command())
    }

    #[test]
    fn a_wrong_value_names_its_variable_or_its_flag() {
        let from_variable = line(&["--id", "1"]);
        assert!(from_variable.starts_with("PATH: invalid value '"), "{from_variable}");
        assert!(
            from_variable.ends_with("expected a whole number from 1 to 9"),
            "{from_variable}"
        );
        assert_eq!(
            line(&["--count", "x"]),
            "invalid value 'x' for '--count <COUNT>': expected a whole number from 1 to 9"
        );
    }

    #[test]
    fn an_error_has_the_format_of_the_log() {
        #[derive(Debug, Parser)]
        struct Service {
            #[arg(long)]
            _log_format: Option<String>,
        }
        let format = |command: Command, args: &[&str], variable: Option<&str>| {
            log_format(&command, args.iter().map(OsString::from), variable.map(OsString::from))
        };
        let of_service = |args: &[&str], variable| format(Service::command(), args, variable);
        assert_eq!(of_service(&["--log-format", "json"], None), LogFormat::Json);
        assert_eq!(of_service(&["--log-format=json"], Some("text")), LogFormat::Json);
        assert_eq!(of_service(&["--grace", "x"], Some("json")), LogFormat::Json);
        assert_eq!(of_service(&["--log-format=text"], Some("json")), LogFormat::Text);
        assert_eq!(of_service(&["--log-format"], None), LogFormat::Text);
        // A program without a log has no log format.
        assert_eq!(
            format(Args::command(), &["--count", "x"], Some("json")),
            LogFormat::Text
        );
    }

    #[test]
    fn every_other_error_is_one_line() {
        assert_eq!(
            line(&["--count", "1"]),
            "the following required arguments were not provided: --id <ID>"
        );
        assert_eq!(line(&["--other", "1"]), "unexpected argument '--other' found");
    }

    #[test]
    fn a_mistyped_name_gets_the_nearest_one() {
        #[derive(Debug, Parser)]
        enum Tool {
            Search,
            Create {
                #[arg(long, value_parser = ["table", "json"])]
                _output: String,
            },
        }
        let line = |args: &[&str]| {
            let error = Tool::try_parse_from([&["tool"], args].concat()).unwrap_err();
            one_line(&error, Tool::command())
        };
        for (args, begin, end) in [
            (
                &["serch"][..],
                "unrecognized subcommand 'serch'",
                "; did you mean `search`?",
            ),
            (
                &["create", "--outptu", "json"],
                "unexpected argument '--outptu' found",
                "; did you mean `--output`?",
            ),
            (
                &["create", "--output", "jsn"],
                "invalid value 'jsn' for '--output <OUTPUT>'",
                "; did you mean `json`?",
            ),
            (&["x"], "unrecognized subcommand 'x'", "'x'"),
        ] {
            let line = line(args);
            assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
        }
    }
}
