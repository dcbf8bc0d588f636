//! One file for each command, and what they share: PP's services as `up` knows them, and what they print.
//!
//! What the commands do with servers is in the library.

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod containers_test;
pub(crate) mod down;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod output;
pub(crate) mod service;
pub(crate) mod signals;
pub(crate) mod staleness;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod with_servers;
