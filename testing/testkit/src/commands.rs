//! One file for each command, and what they share: PP's services as `up` knows them.
//!
//! What the commands do with servers is in the library.

pub(crate) mod containers_test;
pub(crate) mod down;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod with_servers;
