//! The one line for machines where nothing can be installed, and the shell's own check of the script.

use std::path::Path;
use std::process::Command;

use pp_testkit::install;

#[test]
fn what_to_install_is_one_line() {
    let line = install::what_to_install(&["rabbitmq-server", "redis-server"]);
    assert_eq!(line.lines().count(), 1);
    assert!(
        line.contains("sudo apt-get install rabbitmq-server redis-server"),
        "{line}"
    );
}

#[test]
fn the_script_is_a_shell_script() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/src/install/apt.sh");
    assert!(Command::new("sh").arg("-n").arg(script).status().unwrap().success());
}
