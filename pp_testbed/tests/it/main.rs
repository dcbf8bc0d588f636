//! The testbed's own tests, in one program. What needs servers is in `on_servers`.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod compose_file;
mod env_file;
mod install_script;
mod makefile;
mod on_servers;
mod ports;
mod process_identity;
mod state_folder;
mod with_servers;
