//! The arguments of `completions` and `man`, which ask nobody.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::commands::Local;

pub(super) const COMPLETIONS: &str = "Examples:
  cli_01 completions bash > ~/.local/share/bash-completion/completions/cli_01
  cli_01 completions zsh > ~/.zfunc/_cli_01
  cli_01 completions fish > ~/.config/fish/completions/cli_01.fish";

pub(super) const PAGES: &str = "Examples:
  cli_01 man work create | man -l -
  cli_01 man --folder ~/.local/share/man/man1";

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// The command of the page, as in `work create` [default: the page of the program].
    #[arg(value_name = "COMMAND", conflicts_with = "folder")]
    command: Vec<String>,

    /// A folder that gets the pages of all commands.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl CompletionsArgs {
    pub(super) fn local(&self) -> Local {
        Local::Completions(self.shell)
    }
}

impl ManArgs {
    pub(super) fn local(self) -> Local {
        match self.folder {
            Some(folder) => Local::ManPages(folder),
            None => Local::ManPage(self.command),
        }
    }
}
