//! The data directory: private, whole, and published addresses.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_folder_and_its_files_are_the_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::open(&parent.path().join("a/b")).unwrap();
    data.write("secret", b"x").unwrap();
    reserve_file(&data.file("rows")).unwrap();
    assert_eq!(mode(data.path()), 0o700);
    assert_eq!(mode(&data.file("secret")), 0o600);
    assert_eq!(mode(&data.file("rows")), 0o600);
}

#[test]
fn a_folder_with_other_things_in_it_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("somebody-elses"), b"").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    DataDir::open(folder.path()).unwrap();
    assert_eq!(mode(folder.path()), 0o755);
}

#[test]
fn writing_replaces_a_file_whole_and_leaves_no_draft() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    data.write("token", b"a long first content").unwrap();
    data.write("token", b"second").unwrap();
    assert_eq!(data.read("token").unwrap().as_deref(), Some("second"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(data.read("absent").unwrap(), None);
}

#[test]
fn addresses_are_published_for_as_long_as_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let here = "127.0.0.1:1".parse().unwrap();
    let addresses = Addresses { pid: 7, control: here, proxy: here, public: here, api: here };
    let published = addresses.publish(&data).unwrap();
    assert_eq!(Addresses::read(folder.path()), Some(addresses));
    drop(published);
    assert_eq!(Addresses::read(folder.path()), None);
}
