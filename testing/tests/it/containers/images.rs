//! The images: one for each program, without rights, secrets or a shell.

use std::collections::BTreeSet;

use super::compose::ComposeFile;
use super::{IMAGE_FOLDER, dockerfile, programs, text_of};

const STAGES_BEFORE: [&str; 4] = ["chef", "plan", "build", "runtime"];

#[test]
fn each_program_has_an_image_and_a_service() {
    let stages: Vec<String> = dockerfile::stages().into_iter().map(|stage| stage.name).collect();
    assert_eq!(stages[..4], STAGES_BEFORE);
    assert_eq!(stages[4..].iter().cloned().collect::<BTreeSet<_>>(), programs());
    assert_eq!(
        stages.last().unwrap(),
        "pp_standalone",
        "what is built without a target"
    );

    let file = ComposeFile::read();
    let services: BTreeSet<String> = file.of_programs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(services, programs());
    for (name, service) in file.of_programs() {
        let build = service.build.as_ref().unwrap();
        assert_eq!((build.context.as_str(), build.target.as_str()), (".", name));
    }
}

#[test]
fn each_image_runs_its_program_as_nobody_in_particular() {
    for name in programs() {
        let stage = dockerfile::stage(&name);
        assert_eq!(stage.command("ENTRYPOINT").unwrap(), [format!("{IMAGE_FOLDER}{name}")]);
        let copied = stage
            .all("COPY")
            .iter()
            .any(|copy| copy.ends_with(&format!("/{name} {IMAGE_FOLDER}")));
        assert!(copied || name == "cli_02", "{name} is not in its image");
        let (user, group) = stage.last("USER").unwrap().split_once(':').unwrap();
        assert!(
            user.parse::<u32>().unwrap() >= 10_000 && user == group,
            "{name}: USER {user}:{group}"
        );
        assert_eq!(stage.last("STOPSIGNAL"), Some("SIGTERM"));
        assert_eq!(stage.last("CMD"), None);
        assert!(
            stage.origin.starts_with("debian:") && stage.origin.ends_with("-slim"),
            "{}",
            stage.origin
        );
    }
}

#[test]
fn what_they_are_made_from_is_pinned() {
    let manifest = text_of("Cargo.toml");
    let said = |name: &str| {
        let mut lines = manifest.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        value.unwrap().trim_end_matches('"')
    };
    let (build, runtime) = (dockerfile::stage("build").origin, dockerfile::stage("runtime"));
    assert!(build.starts_with(&format!("rust:{}.", said("rust-version"))), "{build}");
    assert_eq!(runtime.all("ARG"), [format!("PP_VERSION={}", said("version"))]);
    let runtime = runtime.origin;
    let (_, release) = runtime.split_once(':').unwrap();
    let date = release.split('-').nth(1).unwrap_or_default();
    assert!(date.len() == 8 && date.parse::<u32>().is_ok(), "{runtime} has no date");
    let debian = release.split('-').next().unwrap();
    assert!(build.ends_with(debian), "{build} has another C library than {runtime}");
}

#[test]
fn no_secret_is_baked_in_and_nothing_needless_is_sent_to_the_builder() {
    for stage in dockerfile::stages() {
        for said in ["ENV", "ARG", "LABEL"].iter().flat_map(|word| stage.all(word)) {
            let said = said.to_uppercase();
            let is_secret = ["PASSWORD", "SECRET", "TOKEN", "://"]
                .iter()
                .any(|word| said.contains(word));
            assert!(!is_secret, "{}: {said}", stage.name);
        }
    }
    // Everything is left out that is not named; a crate that is not named could not be built. Tests are left out, but for
    // the manifest of the crate that is nothing else.
    let ignored = text_of(".dockerignore");
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"));
    let taken: BTreeSet<&str> = lines.clone().filter_map(|line| line.strip_prefix("!/")).collect();
    let manifest = text_of("Cargo.toml");
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members = members.split('"').skip(1).step_by(2);
    let members = members.map(|member| member.split('/').next().unwrap());
    assert_eq!(
        taken,
        members
            .chain(["Cargo.toml", "Cargo.lock", "testing/tests/Cargo.toml"])
            .collect()
    );
    assert!(lines.any(|line| line == "**/.env*"));
}
