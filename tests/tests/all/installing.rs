//! `scripts/install.sh`, as far as a machine need not be changed for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROLES: [(&str, &str); 2] = [("server", "gpuf-s"), ("agent", "gpuf-c")];

fn install(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install.sh");
    Command::new("bash").arg(script).args(arguments).output().expect("bash")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn files_go_where_the_service_looks_and_go_away_again() {
    for (role, program) in ROLES {
        let root = tempfile::tempdir().expect("a folder");
        let root_path = root.path().to_str().expect("a path");
        let options = ["--root", root_path, "--prefix", "/opt/gpuf", "--binary", "/bin/true"];
        let installed = install(&[&[role], &options[..]].concat());
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        assert!(root.path().join("opt/gpuf/bin").join(program).exists());
        let unit = root.path().join(format!("etc/systemd/system/{program}.service"));
        let unit = fs::read_to_string(unit).expect("a unit");
        assert!(unit.contains(&format!("\nExecStart=/opt/gpuf/bin/{program} ")), "{unit}");
        assert!(!unit.contains("@BINDIR@"), "{unit}");
        let removed = install(&[role, "--root", root_path, "--prefix", "/opt/gpuf", "--uninstall"]);
        assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
        assert_eq!(files_below(root.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_dry_run_tells_all_but_the_join_string() {
    let tried =
        install(&["agent", "--dry-run", "--binary", "/bin/true", "gpuf://secret@gateway.example:1/x"]);
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
    let told = String::from_utf8_lossy(&tried.stdout);
    for step in ["install -D -m 755 /bin/true", "join the gateway", "systemctl restart gpuf-c"] {
        assert!(told.contains(step), "{step}: {told}");
    }
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for arguments in [
        &["server", "--dry-run", "gpuf://token@gateway.example:1/x"][..],
        &["agent", "--dry-run", "--binary", "/nowhere/gpuf-c"],
        &["agent", "--dry-run", "--prefix", "relative", "--binary", "/bin/true"],
        &["server", "--what"],
        &["gateway"],
        &[],
    ] {
        assert!(!install(arguments).status.success(), "{arguments:?}");
    }
}
