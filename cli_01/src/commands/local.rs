//! Completions and manual pages, made from the definition of the command line.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Args;
use crate::failure::Failure;

/// Something that the program tells of itself.
#[derive(Debug)]
pub(crate) enum Local {
    Completions(Shell),
    /// The page of a command, or of the program.
    ManPage(Vec<String>),
    /// All pages, into a folder.
    ManPages(PathBuf),
}

impl Local {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Completions(shell) => {
                let mut script = Vec::new();
                let mut command = Args::command();
                let name = command.get_name().to_owned();
                clap_complete::generate(shell, &mut command, name, &mut script);
                print(&script)
            }
            Self::ManPage(names) => {
                let mut page = Vec::new();
                Man::new(found(&names)?).render(&mut page)?;
                print(&page)
            }
            Self::ManPages(folder) => {
                let wrong = |error: io::Error| Failure::Usage(format!("--folder {}: {error}", folder.display()));
                fs::create_dir_all(&folder).map_err(wrong)?;
                clap_mangen::generate_to(Args::command(), &folder).map_err(wrong)
            }
        }
    }
}

/// The command with these names.
fn found(names: &[String]) -> Result<Command, Failure> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    for name in names {
        let Some(next) = command.find_subcommand(name) else {
            return Err(Failure::NotFound(format!("there is no command {}", names.join(" "))));
        };
        command = next.clone();
    }
    Ok(command)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text)?;
    Ok(output.flush()?)
}
