//! How long things took, in few numbers: how many took at most each of some times.

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;

/// The times that are told apart, in nanoseconds: from a small product to one that takes a minute,
/// two to a factor of ten.
pub const BOUNDS_NS: [u64; 14] = [
    10 * US,
    25 * US,
    100 * US,
    250 * US,
    MS,
    5 * MS / 2,
    10 * MS,
    25 * MS,
    100 * MS,
    250 * MS,
    1_000 * MS,
    2_500 * MS,
    10_000 * MS,
    60_000 * MS,
];

/// Times by what they are at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Histogram {
    /// Times above the bound before, up to this one; the last count is of those above all bounds.
    counts: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u64,
}

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        let index = BOUNDS_NS.iter().take_while(|bound_ns| **bound_ns < ns).count();
        self.counts[index] = self.counts[index].wrapping_add(1);
        self.sum_ns = self.sum_ns.wrapping_add(ns);
    }

    /// How many times were at most each bound, and at last how many there were.
    pub fn up_to(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().scan(0_u64, |sum, count| {
            *sum = sum.wrapping_add(*count);
            Some(*sum)
        })
    }

    pub fn count(&self) -> u64 {
        self.up_to().last().unwrap_or_default()
    }

    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_time_counts_at_its_bound_and_above() {
        assert!(BOUNDS_NS.is_sorted_by(|one, next| one < next));
        for (index, bound_ns) in BOUNDS_NS.into_iter().enumerate() {
            for (ns, first) in [(bound_ns, index), (bound_ns + 1, index + 1)] {
                let mut histogram = Histogram::default();
                histogram.add(ns);
                let expected: Vec<u64> =
                    (0..=BOUNDS_NS.len()).map(|index| u64::from(index >= first)).collect();
                assert_eq!(histogram.up_to().collect::<Vec<_>>(), expected, "{ns}");
                assert_eq!(histogram.sum_ns(), ns);
            }
        }
    }
}
