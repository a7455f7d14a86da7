//! Which of several engines gets a request: pure functions over loads, seeded by the caller.

/// How busy a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests that it works on.
    pub in_flight: u32,
    /// Requests that it can work on.
    pub slots: u32,
}

impl Load {
    const fn has_room(self) -> bool {
        self.in_flight < self.slots
    }

    /// Orders by the share of slots in use, without dividing.
    fn is_lighter_than(self, other: Self) -> bool {
        u64::from(self.in_flight) * u64::from(other.slots)
            < u64::from(other.in_flight) * u64::from(self.slots)
    }
}

/// The candidate with the smallest share of its slots in use among those with room, or `None` when
/// all are full. Ties go to the first from a random place on, so that no candidate is favoured.
pub fn least_connections(loads: impl Fn(usize) -> Option<Load>, count: usize, random: u64) -> Option<usize> {
    let start = usize::try_from(random % count.max(1) as u64).unwrap_or(0);
    let mut best: Option<(usize, Load)> = None;
    for index in (start..count).chain(0..start) {
        let Some(load) = loads(index).filter(|load| load.has_room()) else { continue };
        if best.is_none_or(|(_, lightest)| load.is_lighter_than(lightest)) {
            best = Some((index, load));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(loads: &[(u32, u32)], random: u64) -> Option<usize> {
        let load = |index: usize| loads.get(index).map(|&(in_flight, slots)| Load { in_flight, slots });
        least_connections(load, loads.len(), random)
    }

    #[test]
    fn the_emptiest_by_share_is_picked() {
        assert_eq!(pick(&[(3, 4), (5, 16), (1, 2)], 0), Some(1));
    }

    #[test]
    fn full_candidates_are_passed_over() {
        assert_eq!(pick(&[(4, 4), (2, 2)], 1), None);
        assert_eq!(pick(&[(4, 4), (7, 8)], 0), Some(1));
        assert_eq!(pick(&[], 9), None);
    }

    #[test]
    fn ties_are_shared_fairly() {
        let mut counts = [0; 4];
        for random in 0..4000 {
            counts[pick(&[(1, 8); 4], random).unwrap()] += 1;
        }
        assert_eq!(counts, [1000; 4]);
    }
}
