//! Products of several factors, and powers.

use alloc::vec::Vec;

use super::{Lowering, Powers, Term, not_square};
use crate::expression::chain::{Order, Way, left_to_right_flops};
use crate::expression::graph::Factor;
use crate::expression::tree::{Tree, Work};
use crate::gemm::Algorithm;
use crate::problem::Problem;

/// A factor of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub term: Term,
    /// What it is a power of, and which, where it may be multiplied by in steps.
    pub power: Option<(Term, u64)>,
}

impl Lowering {
    /// A node as a factor. Steps are classical products: whoever asks for others gets them.
    pub(super) fn link(
        &self,
        factor: usize,
        algorithm: Algorithm,
        tree: &Tree,
        terms: &[Term],
    ) -> Link {
        let power = match tree.nodes[factor].work {
            Work::Power { of, exponent, algorithm: Algorithm::Classical }
                if exponent > 1 && algorithm == Algorithm::Classical =>
            {
                Some((terms[of], exponent))
            }
            _ => None,
        };
        Link { term: terms[factor], power }
    }

    /// A product of two or more whose shapes have been checked, in the cheapest order.
    pub(super) fn chain(&mut self, links: &[Link], algorithm: Algorithm) -> Term {
        let mut sizes: Vec<usize> = links.iter().map(|link| self.shape(link.term).0).collect();
        sizes.extend(links.last().map(|link| self.shape(link.term).1));
        let exponent = |link: &Link| match (self.powers, link.power) {
            (Powers::InSteps, Some((_, exponent))) => exponent,
            _ => 1,
        };
        let exponents: Vec<u64> = links.iter().map(exponent).collect();
        let order = Order::cheapest(&sizes, &exponents);
        let known = self.graph.nodes.len();
        let product = self.part(links, &order, (0, links.len() - 1), algorithm);
        // What is computed already is saved once. Of steps `plan` says what they save.
        if product.node >= known && self.powers == Powers::Squared {
            self.saved_flops += left_to_right_flops(&sizes) - order.cost.flops;
        }
        product
    }

    fn part(
        &mut self,
        links: &[Link],
        order: &Order,
        (first, last): (usize, usize),
        algorithm: Algorithm,
    ) -> Term {
        if first == last {
            return links[first].term;
        }
        let power = |link: Link| link.power.expect("powers alone are multiplied by in steps");
        match order.way(first, last) {
            Way::Cut(cut) => {
                let a = self.part(links, order, (first, cut), algorithm);
                let b = self.part(links, order, (cut + 1, last), algorithm);
                self.product(a, b, algorithm)
            }
            Way::FirstInSteps => {
                let x = self.part(links, order, (first + 1, last), algorithm);
                self.in_steps(power(links[first]), x)
            }
            // The transpose of the product of the transposes in the other order.
            Way::LastInSteps => {
                let x = self.part(links, order, (first, last - 1), algorithm);
                let (of, exponent) = power(links[last]);
                self.in_steps((of.transposed(), exponent), x.transposed()).transposed()
            }
        }
    }

    /// A power times x.
    fn in_steps(&mut self, (of, exponent): (Term, u64), x: Term) -> Term {
        let (a, by) = (self.whole(of), x.by);
        let x = self.whole(Term { by: Factor::ONE, ..x });
        let stepped = self.steps(a, x, exponent);
        Term { by, ..stepped }
    }

    /// By repeated squaring, of which other powers of the same matrix have the squares in common.
    pub(super) fn power(
        &mut self,
        of: Term,
        exponent: u64,
        algorithm: Algorithm,
        place: &str,
    ) -> Result<Term, Problem> {
        let shape = self.shape(of);
        if shape.0 != shape.1 {
            return Err(not_square(shape, place));
        }
        // The power of a transpose is the transpose of the power.
        let mut square = Term { is_transposed: false, ..of };
        let mut power = None;
        let mut left = exponent;
        loop {
            if left & 1 == 1 {
                power = Some(match power {
                    None => square,
                    Some(power) => self.product(power, square, algorithm),
                });
            }
            left >>= 1;
            if left == 0 {
                break;
            }
            square = self.product(square, square, algorithm);
        }
        let power = power.unwrap_or(square);
        Ok(Term { is_transposed: power.is_transposed ^ of.is_transposed, ..power })
    }
}
