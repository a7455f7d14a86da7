//! The newest entries, so that a forwarder that keeps up never reads the file.

use std::collections::VecDeque;

use super::entry::{Entry, Seq};

const ENTRIES_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;

/// A run of entries without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<(Seq, Entry)>,
    bytes: usize,
}

impl Recent {
    pub fn push(&mut self, seq: Seq, entry: Entry) {
        self.bytes += entry.payload.len();
        self.entries.push_back((seq, entry));
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            self.pop();
        }
    }

    /// Up to `max` entries after `after`; `None` where the first of them is in the file only.
    pub fn after(&self, after: Seq, max: usize) -> Option<Vec<(Seq, Entry)>> {
        let first = self.entries.front()?.0;
        let at = usize::try_from((after.0 + 1).checked_sub(first.0)?).ok()?;
        Some(self.entries.iter().skip(at).take(max).cloned().collect())
    }

    /// Forgets what is delivered.
    pub fn forget(&mut self, up_to: Seq) {
        while self.entries.front().is_some_and(|(seq, _)| *seq <= up_to) {
            self.pop();
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn pop(&mut self) {
        if let Some((_, entry)) = self.entries.pop_front() {
            self.bytes -= entry.payload.len();
        }
    }
}
