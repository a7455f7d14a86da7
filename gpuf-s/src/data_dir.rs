//! The folder that holds everything the server keeps on this machine, readable by its owner only.

use std::{
    fs, io,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

#[cfg(unix)]
const FOLDER_MODE: u32 = 0o700;
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;

/// Why the folder cannot be used; the path is part of the message because the operator has to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {source}", path = path.display())]
pub struct Error {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// Whether the operating system refused it to this user.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// The data directory, which exists.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Opens the folder at `path`, making it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or made private.
    pub fn open(path: &Path) -> Result<Self, Error> {
        private_folder(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder in it, made where it is missing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn folder(&self, name: &str) -> Result<Self, Error> {
        Self::open(&self.0.join(name))
    }

    /// The content of a file in it; `None` where there is none.
    ///
    /// # Errors
    /// When it exists and cannot be read as text.
    pub fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error { doing: "cannot read", path, source }),
        }
    }

    /// Writes a file that only its owner may read, whole or not at all.
    ///
    /// # Errors
    /// When the folder or the disk does not allow it.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.file(name);
        let draft = self.file(&format!(".{name}.{}", std::process::id()));
        let written = write_private(&draft, content).and_then(|()| fs::rename(&draft, &path));
        written.map_err(|source| {
            // The draft may hold a secret and must not stay behind; that it is gone already is as good.
            let _ = fs::remove_file(&draft);
            Error { doing: "cannot write", path, source }
        })
    }

    /// Removes a file in it, where it exists.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error { doing: "cannot remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

/// Makes an empty private file where there is none, for a library that would make it public.
///
/// # Errors
/// When it cannot be made or written.
pub fn reserve_file(path: &Path) -> Result<(), Error> {
    let opened = private_options().append(true).create(true).open(path);
    opened.map(|_| ()).map_err(|source| Error { doing: "cannot open", path: path.to_owned(), source })
}

#[cfg(unix)]
fn private_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let refused = |source| Error { doing: "cannot make the folder", path: path.to_owned(), source };
    if path.is_dir() {
        // Only a folder that holds nothing is ours to close: `--data-dir /tmp` must not lock others out.
        // Every file in it is private by its own mode.
        let empty = fs::read_dir(path).map_err(refused)?.next().is_none();
        if empty {
            fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE)).map_err(refused)?;
        }
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(refused)
}

#[cfg(not(unix))]
fn private_folder(path: &Path) -> Result<(), Error> {
    let refused = |source| Error { doing: "cannot make the folder", path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(refused)
}

fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    options
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private_options().write(true).create(true).truncate(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

const RUN_FOLDER: &str = "run";
const ADDRESSES_FILE: &str = "addresses.json";

/// Where a running server listens, as `run/addresses.json` tells the command line and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The server's process.
    pub pid: u32,
    /// Control port.
    pub control: SocketAddr,
    /// Proxy port.
    pub proxy: SocketAddr,
    /// Public port.
    pub public: SocketAddr,
    /// API port.
    pub api: SocketAddr,
}

/// The addresses file of this process; dropping it removes the file.
#[derive(Debug)]
pub struct PublishedAddresses(PathBuf);

impl Drop for PublishedAddresses {
    fn drop(&mut self) {
        // Whoever reads it later checks that the process lives, so a file that stays does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

impl Addresses {
    /// Writes the file for as long as the returned value lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(&self, data: &DataDir) -> Result<PublishedAddresses, Error> {
        let folder = data.folder(RUN_FOLDER)?;
        let json = serde_json::to_vec(self).map_err(|error| Error {
            doing: "cannot write",
            path: folder.file(ADDRESSES_FILE),
            source: error.into(),
        })?;
        folder.write(ADDRESSES_FILE, &json)?;
        Ok(PublishedAddresses(folder.file(ADDRESSES_FILE)))
    }

    /// Where the server of the data directory at `path` listens, as far as its file tells.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        let json = fs::read(path.join(RUN_FOLDER).join(ADDRESSES_FILE)).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests;
