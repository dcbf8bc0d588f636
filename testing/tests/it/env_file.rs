//! The file of variables: what is written is read back, by this program and by a shell.

use std::process::Command;

use pp_testkit::state::EnvFile;

const VALUES: [(&str, &str); 5] = [
    (
        "PP_DATABASE_URL",
        "postgres://pp:secret@127.0.0.1:20001/pp?application_name=x&connect_timeout=5",
    ),
    ("PP_BROKER_URL", "amqp://pp:secret@127.0.0.1:20002/%2f"),
    ("PP_SCHEDULE", "1/4 * * * * *"),
    ("PP_ODD", "it's \"quoted\" $HOME `id` \\ #"),
    ("PP_EMPTY", ""),
];

fn written() -> (tempfile::TempDir, std::path::PathBuf, EnvFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    let mut file = EnvFile::default();
    for (variable, value) in VALUES {
        file.set(variable, value);
    }
    file.write(&path).unwrap();
    (folder, path, file)
}

#[test]
fn what_is_written_is_read_back() {
    let (_folder, path, file) = written();
    assert_eq!(EnvFile::read(&path).unwrap(), file);
}

#[test]
fn a_shell_reads_the_same_values() {
    let (_folder, path, _) = written();
    for (variable, value) in VALUES {
        let script = format!(". '{}'; printf %s \"${variable}\"", path.display());
        let output = Command::new("sh").args(["-euc", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value, "{variable}");
    }
}

#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path, _) = written();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
