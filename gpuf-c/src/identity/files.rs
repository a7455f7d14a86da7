//! Identities on disk: a folder per server, readable by nobody else, replaced whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::{Error, Identity};

/// The servers' folders, within the data directory.
const SERVERS: &str = "servers";
/// Key and certificate chain in one file: they are replaced together or not at all.
const IDENTITY: &str = "identity.pem";
/// Whom to trust.
const AUTHORITY: &str = "authority.pem";
/// `host:port` of the control port.
const SERVER: &str = "server";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The folder of `server`, a `host:port`.
pub fn folder_of(data_dir: &Path, server: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    let name: String = server.chars().map(plain).collect();
    data_dir.join(SERVERS).join(name)
}

/// Whether `folder` holds an identity.
pub fn is_identity(folder: &Path) -> bool {
    folder.join(IDENTITY).is_file()
}

/// Every folder with an identity.
pub fn folders(data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let servers = data_dir.join(SERVERS);
    let entries = match fs::read_dir(&servers) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(&servers))?,
    };
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_identity(path)).collect();
    folders.sort();
    Ok(folders)
}

/// Reads one.
pub fn load(folder: &Path) -> Result<Identity, Error> {
    let path = folder.join(IDENTITY);
    let damaged = |what| Error::Damaged { path: path.clone(), what };
    let pem = read(&path)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| damaged("no key"))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>();
    let chain = chain.map_err(|_| damaged("no certificate"))?;
    let authority = authority(&folder.join(AUTHORITY))?;
    let server = String::from_utf8(read(&folder.join(SERVER))?).map_err(|_| damaged("no address"))?;
    let identity =
        Identity::assemble(server.trim().to_owned(), key.secret_pkcs8_der().to_vec(), chain, authority)
            .map_err(|_| damaged("key and certificate do not fit"))?;
    let home = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Identity { home: home.unwrap_or_default(), ..identity })
}

/// The last certificate of a PEM file: of a chain, the one that vouches for the others.
///
/// # Errors
/// When there is none.
pub fn authority(path: &Path) -> Result<CertificateDer<'static>, Error> {
    let damaged = || Error::Damaged { path: path.to_owned(), what: "no certificate" };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    chain.ok().and_then(|mut chain| chain.pop()).ok_or_else(damaged)
}

/// Writes one; the identity proper comes last, and only with it the folder counts.
pub fn save(folder: &Path, identity: &Identity) -> Result<(), Error> {
    create_private_folder(folder)?;
    replace(&folder.join(SERVER), identity.server.as_bytes())?;
    replace(&folder.join(AUTHORITY), pem("CERTIFICATE", &identity.authority).as_bytes())?;
    let mut text = pem("PRIVATE KEY", &identity.key);
    for certificate in &identity.chain {
        text.push_str(&pem("CERTIFICATE", certificate));
    }
    replace(&folder.join(IDENTITY), text.as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let length = fs::metadata(path).map_err(at(path))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Error::Damaged { path: path.to_owned(), what: "far too long" });
    }
    fs::read(path).map_err(at(path))
}

fn create_private_folder(folder: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(at(folder))
}

/// Writes beside and renames over: whoever reads sees the old or the whole text, also after a crash.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("part");
    let written = write_private(&beside, bytes).map_err(at(&beside));
    written.and_then(|()| fs::rename(&beside, path).map_err(at(path)))?;
    // A folder that cannot be flushed (not every file system does) is as good as it gets.
    let _ = path.parent().map(File::open).transpose().map(|folder| folder.map(|folder| folder.sync_all()));
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left behind may have other rights.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::File { path, error }
}

fn pem(label: &str, der: &[u8]) -> String {
    const LINE_BYTES: usize = 48;
    let lines: String = der.chunks(LINE_BYTES).map(|line| STANDARD.encode(line) + "\n").collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
