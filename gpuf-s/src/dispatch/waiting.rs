//! How many requests wait for a slot, per model.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Counts by model. Only requests that found no free slot come here.
#[derive(Debug)]
pub struct WaitingRoom {
    per_model_max: usize,
    counts: Mutex<HashMap<Box<str>, usize>>,
}

/// A place in the room, given back by dropping.
#[derive(Debug)]
pub struct Place<'a> {
    room: &'a WaitingRoom,
    model: Box<str>,
}

impl WaitingRoom {
    /// An empty room.
    pub fn new(per_model_max: usize) -> Self {
        Self { per_model_max, counts: Mutex::default() }
    }

    /// A place, unless all for `model` are taken.
    pub fn enter(&self, model: &str) -> Option<Place<'_>> {
        let mut counts = self.counts();
        let count = counts.entry(model.into()).or_default();
        if *count >= self.per_model_max {
            return None;
        }
        *count += 1;
        Some(Place { room: self, model: model.into() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.room.counts();
        if let Some(count) = counts.get_mut(&self.model) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.model);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_per_model_and_given_back() {
        let room = WaitingRoom::new(1);
        let place = room.enter("a");
        assert!(place.is_some() && room.enter("a").is_none() && room.enter("b").is_some());
        drop(place);
        assert!(room.enter("a").is_some());
        assert!(room.counts().is_empty());
    }
}
