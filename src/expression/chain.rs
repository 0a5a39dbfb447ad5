//! The cheapest order of a chain of products.

use alloc::vec;
use alloc::vec::Vec;

/// What an order costs: operations, and elements of the products within it, those of the last not
/// counted. Compared in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    pub flops: u128,
    pub elements: u128,
}

/// The order of the products of a chain of matrices.
#[derive(Debug)]
pub(super) struct Order {
    count: usize,
    /// Of the chain from `first` to `last`, both included, at `first * count + last`: behind which
    /// matrix it is cut in two.
    cuts: Vec<usize>,
    pub cost: Cost,
}

impl Order {
    /// The order with the fewest operations of matrices with `sizes[i]` rows and `sizes[i + 1]`
    /// columns, 2 m n k for a product; of several, the one with the smallest products; and of
    /// those the first, so that it is the same wherever it is chosen. By the dynamic programme of
    /// Godbole (1973), which takes n^3 / 6 steps.
    ///
    /// # Panics
    ///
    /// Where there is no matrix.
    pub fn cheapest(sizes: &[usize]) -> Self {
        let count = sizes.len().checked_sub(1).filter(|count| *count > 0).expect("a matrix");
        let at = |first: usize, last: usize| first * count + last;
        let (mut costs, mut cuts) = (vec![Cost::default(); count * count], vec![0; count * count]);
        for length in 2..=count {
            for first in 0..=count - length {
                let last = first + length - 1;
                let cost_of = |cut: usize| {
                    let inner = [(first, cut), (cut + 1, last)];
                    let [left, right] = inner.map(|(first, last)| costs[at(first, last)]);
                    let of_operands = inner.map(|(first, last)| match first == last {
                        true => 0,
                        false => sizes[first] as u128 * sizes[last + 1] as u128,
                    });
                    Cost {
                        flops: left.flops
                            + right.flops
                            + product_flops(sizes[first], sizes[cut + 1], sizes[last + 1]),
                        elements: left.elements + right.elements + of_operands[0] + of_operands[1],
                    }
                };
                let cut = (first..last).min_by_key(|cut| cost_of(*cut)).expect("two matrices");
                (costs[at(first, last)], cuts[at(first, last)]) = (cost_of(cut), cut);
            }
        }
        Self { count, cost: costs[at(0, count - 1)], cuts }
    }

    /// Behind which matrix the chain from `first` to `last`, two or more, is cut in two.
    pub fn cut(&self, first: usize, last: usize) -> usize {
        self.cuts[first * self.count + last]
    }
}

/// Operations of the products done one after the other from the left.
pub(super) fn left_to_right_flops(sizes: &[usize]) -> u128 {
    let pairs = sizes[1..].windows(2);
    pairs.map(|pair| product_flops(sizes[0], pair[0], pair[1])).sum()
}

fn product_flops(m: usize, k: usize, n: usize) -> u128 {
    2 * m as u128 * k as u128 * n as u128
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    /// The least cost over all orders, one tried after the other.
    fn least_of_all(sizes: &[usize]) -> Cost {
        let last = sizes.len() - 1;
        let costs = (1..last).map(|cut| {
            let (left, right) = (&sizes[..=cut], &sizes[cut..]);
            let [of_left, of_right] = [left, right].map(least_of_all);
            let area = |sizes: &[usize]| match sizes.len() {
                2 => 0,
                length => sizes[0] as u128 * sizes[length - 1] as u128,
            };
            let flops = 2 * (sizes[0] * sizes[cut] * sizes[last]) as u128;
            Cost {
                flops: of_left.flops + of_right.flops + flops,
                elements: of_left.elements + of_right.elements + area(left) + area(right),
            }
        });
        costs.min().unwrap_or_default()
    }

    /// The cost of the order that was chosen, counted by doing it.
    fn cost_of(order: &Order, sizes: &[usize], first: usize, last: usize) -> Cost {
        if first == last {
            return Cost::default();
        }
        let cut = order.cut(first, last);
        let [left, right] = [(first, cut), (cut + 1, last)].map(|(first, last)| {
            let cost = cost_of(order, sizes, first, last);
            let elements = if first == last { 0 } else { sizes[first] * sizes[last + 1] };
            Cost { elements: cost.elements + elements as u128, ..cost }
        });
        let flops = 2 * (sizes[first] * sizes[cut + 1] * sizes[last + 1]) as u128;
        Cost { flops: left.flops + right.flops + flops, elements: left.elements + right.elements }
    }

    #[test]
    fn no_order_is_cheaper_than_the_one_chosen() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for round in 0..2000 {
            let count = 1 + round % 7;
            // Few sizes, so that many orders cost the same; zeros among them.
            let size_max = [3, 8, 1000][round % 3];
            let sizes: Vec<usize> =
                (0..=count).map(|_| random.next_u32() as usize % size_max).collect();
            let order = Order::cheapest(&sizes);
            assert_eq!(order.cost, least_of_all(&sizes), "{sizes:?}");
            assert_eq!(cost_of(&order, &sizes, 0, count - 1), order.cost, "{sizes:?}");
            assert!(order.cost.flops <= left_to_right_flops(&sizes), "{sizes:?}");
        }
    }

    #[test]
    fn known_optima() {
        for (sizes, flops, from_left) in [
            // Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, section 15.2: 15,125
            // multiplications.
            (&[30, 35, 15, 5, 10, 20, 25][..], 30_250, 81_000),
            (&[10, 100, 5, 50], 15_000, 15_000),
            (&[40, 20, 30, 10, 30], 52_000, 96_000),
            (&[1 << 24; 3], 1 << 73, 1 << 73),
            (&[7, 9], 0, 0),
        ] {
            assert_eq!(Order::cheapest(sizes).cost.flops, flops, "{sizes:?}");
            assert_eq!(left_to_right_flops(sizes), from_left, "{sizes:?}");
        }
    }

    #[test]
    fn of_orders_that_cost_the_same_the_one_with_small_products_is_chosen() {
        // Both orders take 288 operations; one product in between is 3 x 6, the other 4 x 4.
        for (sizes, cut) in [([3, 4, 6, 4], 0), ([4, 6, 4, 3], 1)] {
            let order = Order::cheapest(&sizes);
            assert_eq!((order.cost, order.cut(0, 2)), (Cost { flops: 288, elements: 16 }, cut));
        }
        // Of two that are equal in both, the first.
        let order = Order::cheapest(&[2, 4, 4, 2]);
        assert_eq!((order.cost.elements, order.cut(0, 2)), (8, 0));
        // An order that multiplies by nothing first.
        let sizes = [5, 0, 9, 2];
        let order = Order::cheapest(&sizes);
        assert_eq!((order.cost, order.cut(0, 2)), (Cost { flops: 0, elements: 0 }, 0));
    }
}
