//! Which step comes next: the tree of products, walked depth first.

use alloc::vec::Vec;

use super::super::Shape;
use super::plan::{LEVELS_MAX, Plan, Side};

/// Where a matrix lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Within the core of the operand or result as it was given.
    Given,
    /// Within one of the matrices of a level.
    Level { level: usize, index: usize },
}

/// A part of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub place: Place,
    pub row: usize,
    pub column: usize,
}

impl Block {
    const GIVEN: Self = Self { place: Place::Given, row: 0, column: 0 };

    fn of_level(level: usize, index: usize) -> Self {
        Self { place: Place::Level { level, index }, row: 0, column: 0 }
    }

    /// A quarter, of so many rows and columns.
    pub fn quarter(self, (rows, columns): (usize, usize), index: usize) -> Self {
        Self { row: self.row + index / 2 * rows, column: self.column + index % 2 * columns, ..self }
    }
}

/// A product of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub a: Block,
    pub b: Block,
    pub c: Block,
    /// It is added to what C holds.
    pub adds: bool,
}

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Of(Side),
    OfProducts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sums of a product at a level.
    Sums(Kind, Node, usize),
    /// A smallest product.
    Product(Node),
}

/// Quarters of matrices.
const Q11: usize = 0;
const Q12: usize = 1;
const Q21: usize = 2;
const Q22: usize = 3;

/// An operand of a product: a quarter of the given one, or a sum.
#[derive(Clone, Copy, Debug)]
enum Factor {
    Quarter(usize),
    Sum(usize),
}

/// What is done for one product, in this order.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Sums(Kind),
    /// Which product of the matrices kept by one that adds, or where else it goes.
    Kept(Factor, Factor, usize, Kept),
    /// Added to a quarter of C.
    Added(Factor, Factor, usize),
}

/// Where a product is kept that is not added to C.
#[derive(Clone, Copy, Debug)]
enum Kept {
    InC(usize),
    Apart,
}

/// S1 to S4 and T1 to T4 are numbered from zero. The products that are kept are numbered as the
/// pass over them takes them: P1, P6, P7, P5.
const PHASES: [Phase; 10] = {
    use Factor::{Quarter, Sum};
    [
        Phase::Sums(Kind::Of(Side::A)),
        Phase::Sums(Kind::Of(Side::B)),
        Phase::Kept(Quarter(Q11), Quarter(Q11), 0, Kept::InC(Q11)),
        Phase::Kept(Sum(1), Sum(1), 1, Kept::Apart),
        Phase::Kept(Sum(2), Sum(2), 2, Kept::InC(Q21)),
        Phase::Kept(Sum(0), Sum(0), 3, Kept::InC(Q22)),
        Phase::Sums(Kind::OfProducts),
        Phase::Added(Quarter(Q12), Quarter(Q21), Q11),
        Phase::Added(Sum(3), Quarter(Q22), Q12),
        Phase::Added(Quarter(Q22), Sum(3), Q21),
    ]
};

/// The products that are begun, from the whole one down, each with its phase.
#[derive(Debug)]
pub struct Walk {
    begun: Vec<(Node, usize)>,
}

impl Walk {
    pub fn new(plan: &Plan) -> Self {
        let whole = Node { a: Block::GIVEN, b: Block::GIVEN, c: Block::GIVEN, adds: plan.adds };
        let mut begun = Vec::with_capacity(LEVELS_MAX + 1);
        begun.push((whole, 0));
        Self { begun }
    }

    pub fn is_complete(&self) -> bool {
        self.begun.is_empty()
    }

    /// The step to take; its products are begun.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn step(&mut self, plan: &Plan) -> Step {
        loop {
            let level = self.begun.len() - 1;
            let (node, phase) = self.begun[level];
            if level == plan.levels {
                return Step::Product(node);
            }
            match PHASES[phase] {
                Phase::Sums(kind) => return Step::Sums(kind, node, level),
                product => self.begun.push((node.product(product, level, plan), 0)),
            }
        }
    }

    /// The step is done.
    pub fn turn_to_next(&mut self, plan: &Plan) {
        if self.begun.len() - 1 == plan.levels {
            self.begun.pop();
        }
        while let Some((_, phase)) = self.begun.last_mut() {
            *phase += 1;
            if *phase < PHASES.len() {
                return;
            }
            self.begun.pop();
        }
    }
}

impl Node {
    /// One of its seven products.
    fn product(self, phase: Phase, level: usize, plan: &Plan) -> Self {
        let Shape { m, n, k } = plan.at(level + 1);
        let factor = |whole: Block, size, factor| match factor {
            Factor::Quarter(index) => whole.quarter(size, index),
            Factor::Sum(index) => Block::of_level(level, index),
        };
        let (a, b, c, adds) = match phase {
            Phase::Kept(a, b, index, _) if self.adds => {
                (a, b, Block::of_level(level, index), false)
            }
            Phase::Kept(a, b, _, Kept::InC(quarter)) => {
                (a, b, self.c.quarter((m, n), quarter), false)
            }
            Phase::Kept(a, b, _, Kept::Apart) => (a, b, Block::of_level(level, 0), false),
            Phase::Added(a, b, quarter) => (a, b, self.c.quarter((m, n), quarter), true),
            Phase::Sums(_) => unreachable!("sums are no products"),
        };
        Self { a: factor(self.a, (m, k), a), b: factor(self.b, (k, n), b), c, adds }
    }
}
