//! Workers outside of PP, in Python: they do the works of one kind over HTTP, as a program of somebody else would.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pp_testkit::client::Api;
use pp_testkit::programs;
use pp_testkit::service::Service;

use super::asks::OUTSIDE;
use super::handlers::CALLS;

const PROGRAM: &str = include_str!("outside.py");
/// Short waits: a run waits for the end of each work.
const DECLARATION: &str = r#"{"delivery":"pull","policy":{"backoff":{"base":"100ms"}}}"#;

/// Declares the kind.
///
/// # Errors
/// When the API refuses it.
pub(super) fn declare(client: &Api) -> Result<()> {
    let declared = client.try_json("PUT", &format!("/kind/{OUTSIDE}"), DECLARATION, None)?;
    ensure!(declared.status == 200, "{OUTSIDE} is not declared: {}", declared.status);
    Ok(())
}

/// Starts two workers, whose calls are noted in this file.
///
/// # Errors
/// When there is no Python, or they do not start.
pub(super) fn start(folder: &Path, port: u16, calls: &Path) -> Result<[Service; 2]> {
    let python = programs::in_path("python3").context("python3 is not installed")?;
    let program = folder.join("outside.py");
    std::fs::write(&program, PROGRAM)?;
    let worker = |name: &'static str| {
        let variables = vec![
            ("CHAOS_API", format!("http://127.0.0.1:{port}")),
            ("CHAOS_KIND", OUTSIDE.to_owned()),
            ("CHAOS_WORKER", name.to_owned()),
            (CALLS, calls.display().to_string()),
        ];
        let mut service =
            Service::of_program(name, &python, folder, variables).with_args(&[program.display().to_string()]);
        service.start()?;
        anyhow::Ok(service)
    };
    Ok([worker("outside-0")?, worker("outside-1")?])
}
