//! How what is known of a key is written in Redis.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Lifetimes, Lookup};
use crate::store::{Access, KeyHash, KeyId, KeyRow, Models, Name, UnixSeconds};

/// What stands in the place of a revoked key, in every version of the format.
pub(super) const TOMBSTONE: &str = "revoked";
/// Raised by every change that another version would misread.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u8,
    /// When the store was asked. A write may reach Redis arbitrarily late, and its time to live begins only
    /// there; so whoever reads looks at this, too.
    told_unix_ms: u64,
    row: Option<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: KeyId,
    name: Name,
    prefix: String,
    models: Models,
    dedicated_to: Option<Name>,
    created: UnixSeconds,
    expires: Option<UnixSeconds>,
}

/// What the store said, to be written; `None` where it cannot be, as for a key that is revoked.
pub(super) fn write(row: Option<&KeyRow>, told_unix_ms: u64) -> Option<Vec<u8>> {
    let row = match row {
        Some(row) if row.revoked.is_some() => return None,
        Some(row) => Some(Row::from(row.clone())),
        None => None,
    };
    serde_json::to_vec(&Entry { version: VERSION, told_unix_ms, row }).ok()
}

/// What bytes of Redis say of the key of `hash`. What cannot be read, or is too old, says nothing.
pub(super) fn read(hash: &KeyHash, bytes: &[u8], lifetimes: &Lifetimes, now_unix_ms: u64) -> Lookup {
    if bytes == TOMBSTONE.as_bytes() {
        return Lookup::Nobody;
    }
    let entry = serde_json::from_slice::<Entry>(bytes).ok().filter(|entry| entry.version == VERSION);
    let Some(entry) = entry else { return Lookup::Unknown };
    let age = Duration::from_millis(now_unix_ms.saturating_sub(entry.told_unix_ms));
    match entry.row {
        Some(row) if age < lifetimes.row => Lookup::Row(row.of(*hash)),
        None if age < lifetimes.nobody => Lookup::Nobody,
        _ => Lookup::Unknown,
    }
}

impl From<KeyRow> for Row {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            models: row.models,
            dedicated_to: match row.access {
                Access::Shared => None,
                Access::Dedicated(owner) => Some(owner),
            },
            created: row.created,
            expires: row.expires,
        }
    }
}

impl Row {
    fn of(self, hash: KeyHash) -> KeyRow {
        KeyRow {
            id: self.id,
            name: self.name,
            hash,
            prefix: self.prefix,
            models: self.models,
            access: self.dedicated_to.map_or(Access::Shared, Access::Dedicated),
            created: self.created,
            expires: self.expires,
            revoked: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{LIFETIMES, conformance};

    const NOW: u64 = 1_800_000_000_000;

    fn age(bytes: &[u8], ms: u64) -> Lookup {
        read(&KeyHash::of(b"x"), bytes, &LIFETIMES, NOW + ms)
    }

    fn row(name: &str) -> KeyRow {
        KeyRow { hash: KeyHash::of(name.as_bytes()), ..conformance::row(name) }
    }

    #[test]
    fn a_row_reads_back_as_it_was_until_it_is_old() {
        let models = ["b:1", "a/x"].map(|name| name.parse().unwrap());
        let full = KeyRow {
            models: Some(models.to_vec()).into(),
            access: Access::Dedicated("lab".parse().unwrap()),
            expires: Some(UnixSeconds(9)),
            ..row("x")
        };
        for row in [full, row("x")] {
            let bytes = write(Some(&row), NOW).unwrap();
            assert_eq!(age(&bytes, 299_999), Lookup::Row(row));
            assert_eq!(age(&bytes, 300_000), Lookup::Unknown);
        }
        let nobody = write(None, NOW).unwrap();
        assert_eq!(age(&nobody, 29_999), Lookup::Nobody);
        assert_eq!(age(&nobody, 30_000), Lookup::Unknown);
    }

    #[test]
    fn a_revoked_key_has_no_entry_but_a_tombstone() {
        let revoked = KeyRow { revoked: Some(UnixSeconds(1)), ..row("x") };
        assert_eq!(write(Some(&revoked), NOW), None);
        assert_eq!(age(TOMBSTONE.as_bytes(), u64::from(u32::MAX)), Lookup::Nobody);
    }

    #[test]
    fn another_versions_entry_says_nothing() {
        let entry = String::from_utf8(write(Some(&row("x")), NOW).unwrap()).unwrap();
        let other = entry.replace("\"version\":1", "\"version\":2");
        let grown = entry.replace("\"version\":1", "\"version\":1,\"more\":true");
        assert_ne!(entry, other);
        for bytes in [other.as_bytes(), grown.as_bytes(), b"", b"{}", b"revoked ", b"\xff"] {
            assert_eq!(age(bytes, 0), Lookup::Unknown);
        }
    }

    #[test]
    fn the_hash_of_a_key_is_not_in_its_entry() {
        let entry = String::from_utf8(write(Some(&row("x")), NOW).unwrap()).unwrap();
        assert_eq!(
            entry.split("\"id\"").next().unwrap(),
            r#"{"version":1,"told_unix_ms":1800000000000,"row":{"#
        );
        assert!(!entry.contains("hash"));
    }
}
