//! An expression as it was written, with names resolved and nothing known of shapes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::gemm::Algorithm;

/// Nodes, each behind those that it is made of.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    pub results: Vec<(String, usize)>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub work: Work,
    /// A JSON pointer to it.
    pub place: String,
}

/// What a node does with others, each given by its index.
#[derive(Debug)]
pub(super) enum Work {
    /// The operand of this index.
    Operand(usize),
    Multiply {
        factors: Vec<usize>,
        alpha: f64,
        algorithm: Algorithm,
    },
    Gemm(Gemm),
    Add {
        x: usize,
        y: usize,
        alpha: f64,
        beta: f64,
    },
    Scale {
        of: usize,
        by: f64,
    },
    Transpose(usize),
    Power {
        of: usize,
        exponent: u64,
        algorithm: Algorithm,
    },
    Iterate {
        a: usize,
        x: usize,
        steps: u64,
        snapshot_every: u64,
    },
}

#[derive(Debug)]
pub(super) struct Gemm {
    pub a: usize,
    pub b: usize,
    /// With beta, which is not 0.
    pub c: Option<(usize, f64)>,
    pub alpha: f64,
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub algorithm: Algorithm,
}

impl Tree {
    /// Where in the request all expressions are: `/expression` or `/results`.
    pub fn place(&self) -> String {
        let place = self.nodes.first().map_or("", |node| node.place.as_str());
        place.split('/').nth(1).map_or_else(String::new, |part| format!("/{part}"))
    }

    /// The first of so many operands that no node names.
    pub fn first_unused(&self, operands: usize) -> Option<usize> {
        (0..operands).find(|index| {
            !self
                .nodes
                .iter()
                .any(|node| matches!(node.work, Work::Operand(named) if named == *index))
        })
    }
}
