//! Tests that need a network or mounts of their own run themselves once more inside a namespace: nothing of it
//! has a name or outlives the processes, so nothing is left to clean up and nothing can clash.

use std::process::Command;

use crate::binaries::program;
use crate::process::output_of;

/// Runs the test of this name once more, in a namespace of its own (`--net`, `--mount`), with `variable` set
/// so that it knows.
pub async fn run_again(test: &str, variable: &str, kind: &str) {
    let folder = program("gpuf-s").parent().expect("a folder").to_owned();
    let own = std::env::current_exe().expect("the path of this program");
    let mut command = tokio::process::Command::from(in_own(kind, own.to_str().expect("a path")));
    command.args([test, "--exact", "--nocapture"]).env(variable, "1");
    command.env("GPUF_TESTS_BINARIES", folder);
    let printed = output_of("the test in its namespace", command).await;
    assert!(printed.contains("1 passed"), "the test in its namespace did not run:\n{printed}");
}

/// A command in a namespace of its own: as root, or as a normal user who becomes root of it.
fn in_own(kind: &str, program: &str) -> Command {
    // SAFETY: the call takes nothing and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let flags: Vec<&str> = if root { vec![kind] } else { vec!["--user", "--map-root-user", kind] };
    let tried = Command::new("unshare").args(&flags).arg("true").output();
    let tried =
        tried.unwrap_or_else(|error| panic!("unshare, of the package util-linux, does not run: {error}"));
    assert!(
        tried.status.success(),
        "no namespace can be made: {}run the tests as root, or allow user namespaces \
         (kernel.unprivileged_userns_clone=1; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)",
        String::from_utf8_lossy(&tried.stderr)
    );
    let mut command = Command::new("unshare");
    command.args(flags).arg(program);
    command
}
