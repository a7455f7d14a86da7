//! Where the programs under test are; built first if they are missing or older than their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// A folder with programs to be tested as they are.
const FOLDER_VARIABLE: &str = "GPUF_TESTS_BINARIES";
const PROGRAMS: [&str; 4] = ["gpuf-s", "api_server", "heartbeat_consumer", "gpuf-c"];
const PACKAGES: [&str; 2] = ["gpuf-s", "gpuf-c"];
const SOURCES: [&str; 6] = ["Cargo.lock", "common", "gpuf-s", "gpuf-c", "sim-engine", "migrations"];

/// The path of one of our programs.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(ready_folder).join(name)
}

fn ready_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return folder.into();
    }
    let folder = own_folder();
    let built = PROGRAMS.iter().map(|name| modified(&folder.join(name))).min().flatten();
    let sources = SOURCES.iter().filter_map(|name| newest(&workspace().join(name))).max();
    if built.is_none() || built < sources {
        build(&folder);
    }
    folder
}

/// `target/<profile>`: test programs lie in its `deps`.
fn own_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let deps = own.parent().expect("a test program lies in a folder");
    if deps.ends_with("deps") { deps.parent().expect("deps lies in a folder").into() } else { deps.into() }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// The latest change of a file, or of any file below a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().filter_map(|entry| newest(&entry.path())).max(),
        Err(_) => modified(path),
    }
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).args(["build", "--quiet", "--bins", "--profile", profile]);
    for name in PACKAGES {
        command.args(["-p", name]);
    }
    command.arg("--target-dir").arg(folder.parent().expect("a profile's folder lies in the target folder"));
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "the programs under test do not build");
}
