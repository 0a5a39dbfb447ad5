//! The cheapest order of a chain of products, and of what a power in it is made of.

use alloc::vec;
use alloc::vec::Vec;

/// What an order costs: operations, and elements of the products within it, those of the last not
/// counted. Compared in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    pub flops: u128,
    pub elements: u128,
}

/// The order of the products of a chain of matrices, some of which may be powers of others.
#[derive(Debug)]
pub(super) struct Order {
    count: usize,
    /// Of the chain from `first` to `last`, both included, at `first * count + last`.
    ways: Vec<Way>,
    pub cost: Cost,
}

/// How a part of a chain, two matrices or more, is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As a product of two parts, cut behind this matrix.
    Cut(usize),
    /// The rest is multiplied by what the first is a power of, so many times, from the left.
    FirstInSteps,
    /// And by what the last is a power of, from the right.
    LastInSteps,
}

impl Order {
    /// The order with the fewest operations of matrices with `sizes[i]` rows and `sizes[i + 1]`
    /// columns, 2 m n k for a product; of several, the one with the smallest products; and of
    /// those the first, so that it is the same wherever it is chosen. By the dynamic programme of
    /// Godbole (1973), which takes n^3 / 6 steps.
    ///
    /// `exponents[i]` is 1 for a matrix that is there. Otherwise it is that power of one which is
    /// there, and is computed by squaring, or multiplied by in steps.
    ///
    /// # Panics
    ///
    /// Where there is no matrix, or not an exponent for each.
    pub fn cheapest(sizes: &[usize], exponents: &[u64]) -> Self {
        let count = sizes.len().checked_sub(1).filter(|count| *count > 0).expect("a matrix");
        assert_eq!(exponents.len(), count, "an exponent for each");
        let at = |first: usize, last: usize| first * count + last;
        let mut costs = vec![Cost::default(); count * count];
        let mut ways = vec![Way::Cut(0); count * count];
        for (index, exponent) in exponents.iter().enumerate() {
            costs[at(index, index)] = Cost::of_power(sizes[index], *exponent);
        }
        for length in 2..=count {
            for first in 0..=count - length {
                let last = first + length - 1;
                // Of a part that is an operand of another.
                let inner = |first: usize, last: usize| {
                    let Cost { flops, elements } = costs[at(first, last)];
                    let is_product = first < last;
                    let own = if is_product { area(sizes[first], sizes[last + 1]) } else { 0 };
                    Cost { flops, elements: elements + own }
                };
                let steps = |exponent: u64, rows, columns| match exponent {
                    1 => None,
                    _ => Some(u128::from(exponent) * product_flops(rows, rows, columns)),
                };
                let products = (first..last).map(|cut| {
                    let (left, right) = (inner(first, cut), inner(cut + 1, last));
                    let flops = product_flops(sizes[first], sizes[cut + 1], sizes[last + 1]);
                    (left.and(right).and_flops(flops), Way::Cut(cut))
                });
                let on_left = steps(exponents[first], sizes[first], sizes[last + 1])
                    .map(|flops| (inner(first + 1, last).and_flops(flops), Way::FirstInSteps));
                let on_right = steps(exponents[last], sizes[last], sizes[first])
                    .map(|flops| (inner(first, last - 1).and_flops(flops), Way::LastInSteps));
                let all = products.chain(on_left).chain(on_right);
                let cheapest = all.min_by_key(|(cost, _)| *cost).expect("two matrices");
                (costs[at(first, last)], ways[at(first, last)]) = cheapest;
            }
        }
        Self { count, cost: costs[at(0, count - 1)], ways }
    }

    /// How the chain from `first` to `last`, two or more, is computed.
    pub fn way(&self, first: usize, last: usize) -> Way {
        self.ways[first * self.count + last]
    }
}

impl Cost {
    /// Of a power by squaring, itself included.
    fn of_power(rows: usize, exponent: u64) -> Self {
        let products = u128::from(exponent.ilog2() + exponent.count_ones() - 1);
        let (flops, elements) = (product_flops(rows, rows, rows), area(rows, rows));
        Self { flops: products * flops, elements: products * elements }
    }

    fn and(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, elements: self.elements + other.elements }
    }

    fn and_flops(self, flops: u128) -> Self {
        Self { flops: self.flops + flops, ..self }
    }
}

fn area(rows: usize, columns: usize) -> u128 {
    rows as u128 * columns as u128
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
    use core::ops::Range;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    /// The least cost over all orders, one tried after the other.
    fn least_of_all(sizes: &[usize], exponents: &[u64]) -> Cost {
        let last = sizes.len() - 1;
        let part = |range: Range<usize>| {
            let (sizes, exponents) = (&sizes[range.start..=range.end], &exponents[range]);
            let cost = least_of_all(sizes, exponents);
            let is_there = exponents.len() == 1;
            let own = if is_there { 0 } else { sizes[0] * sizes[exponents.len()] };
            Cost { elements: cost.elements + own as u128, ..cost }
        };
        if last == 1 {
            let products = exponents[0].ilog2() + exponents[0].count_ones() - 1;
            let area = sizes[0] * sizes[0] * products as usize;
            return Cost { flops: (2 * area * sizes[0]) as u128, elements: area as u128 };
        }
        let products = (1..last).map(|cut| {
            let flops = 2 * (sizes[0] * sizes[cut] * sizes[last]) as u128;
            part(0..cut).and(part(cut..last)).and_flops(flops)
        });
        let steps = [(exponents[0], 1..last), (exponents[last - 1], 0..last - 1)].map(
            |(exponent, rest)| {
                let inner = if rest.start == 0 { sizes[last] } else { sizes[0] };
                let outer = if rest.start == 0 { sizes[0] } else { sizes[last] };
                let flops = 2 * u128::from(exponent) * (inner * inner * outer) as u128;
                (exponent > 1).then(|| part(rest).and_flops(flops))
            },
        );
        products.chain(steps.into_iter().flatten()).min().expect("two matrices")
    }

    /// The cost of the order that was chosen, counted by doing it.
    fn cost_of(order: &Order, sizes: &[usize], first: usize, last: usize) -> Cost {
        if first == last {
            return Cost::default();
        }
        let Way::Cut(cut) = order.way(first, last) else { panic!("there are no powers") };
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
            let none = vec![1; count];
            let order = Order::cheapest(&sizes, &none);
            assert_eq!(order.cost, least_of_all(&sizes, &none), "{sizes:?}");
            assert_eq!(cost_of(&order, &sizes, 0, count - 1), order.cost, "{sizes:?}");
            assert!(order.cost.flops <= left_to_right_flops(&sizes), "{sizes:?}");
        }
    }

    #[test]
    fn powers_are_squared_or_multiplied_by_in_steps_whatever_costs_less() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let mut ways = [0; 3];
        for round in 0..2000 {
            let count = 2 + round % 5;
            let below = |random: &mut ChaCha8Rng, max| 1 + random.next_u32() as usize % max;
            let mut sizes = vec![below(&mut random, 40)];
            let mut exponents = vec![];
            for _ in 0..count {
                let is_power = random.next_u32().is_multiple_of(3);
                exponents.push(if is_power { below(&mut random, 40) as u64 } else { 1 });
                let rows = *sizes.last().expect("one");
                sizes.push(if is_power { rows } else { below(&mut random, 40) });
            }
            let order = Order::cheapest(&sizes, &exponents);
            assert_eq!(order.cost, least_of_all(&sizes, &exponents), "{sizes:?} {exponents:?}");
            ways[match order.way(0, count - 1) {
                Way::Cut(_) => 0,
                Way::FirstInSteps => 1,
                Way::LastInSteps => 2,
            }] += 1;
        }
        assert!(ways.iter().all(|times| *times > 50), "{ways:?}");
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
            let none = vec![1; sizes.len() - 1];
            assert_eq!(Order::cheapest(sizes, &none).cost.flops, flops, "{sizes:?}");
            assert_eq!(left_to_right_flops(sizes), from_left, "{sizes:?}");
        }
    }

    #[test]
    fn of_orders_that_cost_the_same_the_one_with_small_products_is_chosen() {
        // Both orders take 288 operations; one product in between is 3 x 6, the other 4 x 4.
        for (sizes, cut) in [([3, 4, 6, 4], 0), ([4, 6, 4, 3], 1)] {
            let order = Order::cheapest(&sizes, &[1; 3]);
            let cost = Cost { flops: 288, elements: 16 };
            assert_eq!((order.cost, order.way(0, 2)), (cost, Way::Cut(cut)));
        }
        // Of two that are equal in both, the first.
        let order = Order::cheapest(&[2, 4, 4, 2], &[1; 3]);
        assert_eq!((order.cost.elements, order.way(0, 2)), (8, Way::Cut(0)));
        // An order that multiplies by nothing first.
        let sizes = [5, 0, 9, 2];
        let order = Order::cheapest(&sizes, &[1; 3]);
        assert_eq!((order.cost, order.way(0, 2)), (Cost::default(), Way::Cut(0)));
    }
}
