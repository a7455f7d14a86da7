//! The authority's two files: made once, by whichever server starts first on their folder.

use std::{
    fs::{File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{AUTHORITY_LIFE, Error, FOLDER, bad_file, common_name, random_serial, set_life};
use crate::{
    data_dir::{self, DataDir},
    store::UnixSeconds,
};

pub(super) const CERTIFICATE: &str = "ca.pem";
pub(super) const KEY: &str = "ca.key";
const LOCK: &str = "ca.lock";
/// Making an authority takes milliseconds: whoever holds the lock for this long hangs.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Where an authority is kept.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The server's own folder, which always holds its certificate.
    pub data: &'a DataDir,
    /// The folder that several servers share; without it the authority is in the server's own.
    pub shared: Option<&'a Path>,
}

impl<'a> Place<'a> {
    /// In the data directory.
    #[must_use]
    pub const fn own(data: &'a DataDir) -> Self {
        Self { data, shared: None }
    }

    /// Whether there is an authority.
    #[must_use]
    pub fn exists(&self) -> bool {
        let own = self.data.file(FOLDER);
        self.shared.unwrap_or(&own).join(CERTIFICATE).exists()
    }

    fn folder(&self) -> Result<DataDir, Error> {
        Ok(self.shared.map_or_else(|| self.data.folder(FOLDER), DataDir::open)?)
    }

    /// An authority of this server's own that the shared folder hides.
    fn hidden(&self) -> Result<Option<String>, Error> {
        if self.shared.is_none() {
            return Ok(None);
        }
        let own = self.data.folder(FOLDER)?;
        Ok(own.read(KEY)?.and(own.read(CERTIFICATE)?))
    }
}

/// Key and certificate of the authority, in PEM.
struct Files {
    certificate: String,
    key: String,
}

/// The authority at `place`, made where there is none.
pub(super) fn open(
    place: Place<'_>,
    now: UnixSeconds,
) -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), Error> {
    let folder = place.folder()?;
    let hidden = place.hidden()?;
    let files = match read(&folder) {
        Ok(Some(files)) => files,
        // What looks like half may be about to become whole: the lock tells.
        Ok(None) | Err(Error::Half { .. }) => read_or_make(&folder, place, hidden.is_some(), now)?,
        Err(error) => return Err(error),
    };
    if hidden.is_some_and(|hidden| hidden != files.certificate) {
        let (own, shared) = (place.data.file(FOLDER), folder.path());
        tracing::warn!(own = %own.display(), shared = %shared.display(),
            "agents that joined by this server's own authority have to join again: the shared one counts");
    }
    let path = folder.file(CERTIFICATE);
    let der = CertificateDer::from_pem_slice(files.certificate.as_bytes())
        .map_err(|error| bad_file(&path, "a certificate", &error))?;
    let issuer = Issuer::from_ca_cert_der(&der, KeyPair::from_pem(&files.key)?)?;
    Ok((issuer, der))
}

fn read(folder: &DataDir) -> Result<Option<Files>, Error> {
    let half =
        |present, missing| Error::Half { present: folder.file(present), missing: folder.file(missing) };
    match (folder.read(CERTIFICATE)?, folder.read(KEY)?) {
        (Some(certificate), Some(key)) => Ok(Some(Files { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(CERTIFICATE, KEY)),
        (None, Some(_)) => Err(half(KEY, CERTIFICATE)),
    }
}

/// Under the lock, since two servers may start at once on an empty folder.
fn read_or_make(folder: &DataDir, place: Place<'_>, has_own: bool, now: UnixSeconds) -> Result<Files, Error> {
    let _lock = lock(folder)?;
    if let Some(files) = read(folder)? {
        return Ok(files);
    }
    if has_own {
        let (shared, own) = (folder.path().to_owned(), place.data.file(FOLDER));
        return Err(Error::Own { shared, own });
    }
    let files = make(now)?;
    folder.write(KEY, files.key.as_bytes())?;
    folder.write(CERTIFICATE, files.certificate.as_bytes())?;
    tracing::info!(path = %folder.path().display(), "made an authority");
    Ok(files)
}

fn make(now: UnixSeconds) -> Result<Files, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("GPUFabric authority".into());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(random_serial()?);
    set_life(&mut params, now, AUTHORITY_LIFE);
    let key = KeyPair::generate()?;
    Ok(Files { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// Held until the file is dropped, by a crash too. The file itself stays: removing it would let two hold
/// the lock of two files of one name.
fn lock(folder: &DataDir) -> Result<File, Error> {
    let path = folder.file(LOCK);
    data_dir::reserve_file(&path)?;
    let refused = |reason: String| Error::Lock { path: path.clone(), reason };
    let file = File::options().append(true).open(&path).map_err(|error| refused(error.to_string()))?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
            Err(error) => return Err(refused(error.to_string())),
        }
    }
}
