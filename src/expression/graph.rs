//! What is computed of what, each thing once: nodes that are equal are one node.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::gemm::{Algorithm, Dtype, Element};
use crate::store::Layout;

/// A node's index. A node stands behind those that it is made of.
pub(super) type Id = usize;

/// Nodes, and what of them is wanted.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    ids: BTreeMap<Operation, Id>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub operation: Operation,
    pub layout: Layout,
}

/// How a node is made. Factors are never 0 where something would not be read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Input(usize),
    Gemm(Gemm),
    Add { x: Id, y: Id, alpha: Factor, beta: Factor },
    Scale { of: Id, by: Factor },
    Transpose(Id),
    Iterate { a: Id, x: Id, steps: u64, snapshot_every: u64 },
}

/// `alpha A B + beta C`. Nodes begin without a factor and C, which [`super::fold`] adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gemm {
    pub a: Id,
    pub b: Id,
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub alpha: Factor,
    pub c: Option<(Id, Factor)>,
    pub algorithm: Algorithm,
}

/// A number by its bits, so that nodes can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Factor(u64);

impl Factor {
    pub const ONE: Self = Self(1.0_f64.to_bits());

    pub fn of(number: f64) -> Self {
        Self(number.to_bits())
    }

    pub fn number(self) -> f64 {
        f64::from_bits(self.0)
    }

    /// The product, if multiplying by it is as good as by one factor after the other: that is,
    /// where it neither overflows nor loses digits in this dtype, and is not 0, by which infinities
    /// become NaN.
    pub fn times(self, other: Self, dtype: Dtype) -> Option<Self> {
        if other == Self::ONE {
            return Some(self);
        }
        let product = self.number() * other.number();
        let (least, most) = match dtype {
            Dtype::F64 => (f64::MIN_POSITIVE, f64::MAX),
            Dtype::F32 => (<f32 as Element>::MIN_POSITIVE, <f32 as Element>::MAX),
        };
        let size = if product < 0.0 { -product } else { product };
        (least..=most).contains(&size).then(|| Self::of(product))
    }
}

impl core::fmt::Debug for Factor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.number().fmt(f)
    }
}

impl Operation {
    /// The nodes that it is made of.
    pub fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let operands = match *self {
            Self::Input(_) => [None; 3],
            Self::Gemm(gemm) => [Some(gemm.a), Some(gemm.b), gemm.c.map(|(c, _)| c)],
            Self::Add { x, y, .. } => [Some(x), Some(y), None],
            Self::Iterate { a, x, .. } => [Some(a), Some(x), None],
            Self::Scale { of, .. } | Self::Transpose(of) => [Some(of), None, None],
        };
        operands.into_iter().flatten()
    }
}

impl Graph {
    /// The node for an operation, and whether there was none yet.
    pub fn add(&mut self, operation: Operation, layout: Layout) -> (Id, bool) {
        let next = self.nodes.len();
        let id = *self.ids.entry(operation).or_insert(next);
        if id == next {
            self.nodes.push(Node { operation, layout });
        }
        (id, id == next)
    }

    pub fn layout(&self, id: Id) -> Layout {
        self.nodes[id].layout
    }
}
