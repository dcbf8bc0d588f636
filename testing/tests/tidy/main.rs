//! What is promised about the source tree, checked by reading it: who may depend on what, and what must be written down.
//!
//! Every rule is a function from files to complaints, so that it can be shown to fail on a file that is made up. Only the
//! standard library is used: these tests judge the dependencies of everything else.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

mod manifests;
mod metrics;
mod paperwork;
mod tree;
mod walls;
