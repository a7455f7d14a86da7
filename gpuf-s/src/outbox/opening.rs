//! Opens the file for one process at a time, and puts a damaged one aside.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Error,
    counts::Durability,
    file::{File, GROUP_ENTRIES_MAX},
    journal::Left,
};
use crate::data_dir;

/// Keeps other processes out; gone with the value, and with this process however it ends.
pub(super) fn lock(path: &Path) -> Result<std::fs::File, Error> {
    // A file of its own: closing a second handle on the database would drop the database's own locks.
    let name = beside(path, ".lock");
    data_dir::reserve_file(&name)?;
    let refused = |reason: String| Error::Open { at: path.display().to_string(), reason };
    let lock = std::fs::File::open(&name).map_err(|error| refused(error.to_string()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse { at: path.display().to_string() }),
        Err(std::fs::TryLockError::Error(error)) => Err(refused(error.to_string())),
    }
}

/// Brings what an earlier process wrote down into the file. Where that fails it stays for the next start.
pub(super) async fn take_up(left: Left, file: &mut File) {
    for group in left.entries.chunks(GROUP_ENTRIES_MAX) {
        if let Err(error) = file.insert(group).await {
            tracing::error!(%error, entries = left.entries.len(), "what the last process left waits");
            return;
        }
    }
    if !left.entries.is_empty() {
        tracing::info!(entries = left.entries.len(), "what the last process left is taken up");
    }
    left.forget();
}

/// Opens the file, or an empty one in place of a damaged one.
pub(super) async fn open_whole(path: &Path, durability: Durability) -> Result<File, Error> {
    let refused = |reason: String| Error::Open { at: path.display().to_string(), reason };
    if !was_marked_damaged(path) {
        // Made by the library it would be readable by everybody; its companions take its mode.
        data_dir::reserve_file(path)?;
        match File::open(path, durability).await {
            Err(error) if is_damage(&error) => tracing::error!(%error, "the outbox is damaged"),
            opened => return opened.map_err(|error| refused(error.to_string())),
        }
    }
    let aside = move_aside(path).map_err(|error| refused(error.to_string()))?;
    tracing::error!(aside = %aside.display(), "the outbox is moved aside; what waited in it is not delivered");
    data_dir::reserve_file(path)?;
    File::open(path, durability).await.map_err(|error| refused(error.to_string()))
}

/// Whether the file is not what we wrote; another try does not help.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    // The low byte is the primary code: 11 is SQLITE_CORRUPT, 26 is SQLITE_NOTADB.
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
            matches!(code, Some(CORRUPT | NOT_A_DATABASE))
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => true,
        _ => false,
    }
}

/// The path of a companion: SQLite appends to the whole name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames the file with its log, so that somebody may look at them later.
fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = beside(path, &format!(".damaged-{}", since.as_millis()));
    std::fs::rename(path, &aside)?;
    for companion in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, companion), beside(&aside, companion)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

const DAMAGE_MARK: &str = ".is-damaged";

/// Leaves word that the file is to be moved aside when it is opened next.
pub(super) fn mark_damaged(path: &Path) {
    tracing::error!("the outbox is damaged; it is moved aside at the next start");
    // On a disk that takes nothing the damage is found again.
    let _ = data_dir::reserve_file(&beside(path, DAMAGE_MARK));
}

/// Whether such a word was left; it is taken away.
fn was_marked_damaged(path: &Path) -> bool {
    std::fs::remove_file(beside(path, DAMAGE_MARK)).is_ok()
}
