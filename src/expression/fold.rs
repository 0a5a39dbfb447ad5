//! Steps that a product does along the way: a factor, a transpose, or the addition of a matrix.

use alloc::vec;
use alloc::vec::Vec;

use super::graph::{Factor, Gemm, Graph, Id, Operation};
use crate::gemm::Dtype;

/// How often each node is read by what the results need, or is a result; 0 for nodes that are not
/// needed.
pub(super) fn uses(graph: &Graph, results: &[Id]) -> Vec<usize> {
    let mut uses = vec![0; graph.nodes.len()];
    for result in results {
        uses[*result] += 1;
    }
    for id in (0..uses.len()).rev() {
        if uses[id] > 0 {
            graph.nodes[id].operation.operands().for_each(|operand| uses[operand] += 1);
        }
    }
    uses
}

/// Lets a product that nothing else reads do what is done with it next.
pub(super) fn fold(graph: &mut Graph, results: &[Id]) {
    let uses = uses(graph, results);
    for id in 0..uses.len() {
        if uses[id] == 0 {
            continue;
        }
        let dtype = graph.layout(id).dtype;
        let product = |of: Id| match graph.nodes[of].operation {
            Operation::Gemm(gemm) if uses[of] == 1 && gemm.c.is_none() => Some(gemm),
            _ => None,
        };
        let folded = match graph.nodes[id].operation {
            Operation::Transpose(of) => product(of).map(transposed),
            Operation::Scale { of, by } => product(of).and_then(|gemm| scaled(gemm, by, dtype)),
            Operation::Add { x, y, alpha, beta } => {
                let of_y = || with_addend(product(y)?, beta, (x, alpha), dtype);
                let of_x = || with_addend(product(x)?, alpha, (y, beta), dtype);
                of_y().or_else(of_x)
            }
            _ => None,
        };
        if let Some(gemm) = folded {
            graph.nodes[id].operation = Operation::Gemm(gemm);
        }
    }
}

/// The transpose of A B is that of B times that of A.
fn transposed(gemm: Gemm) -> Gemm {
    Gemm {
        a: gemm.b,
        b: gemm.a,
        transpose_a: !gemm.transpose_b,
        transpose_b: !gemm.transpose_a,
        ..gemm
    }
}

fn scaled(gemm: Gemm, by: Factor, dtype: Dtype) -> Option<Gemm> {
    Some(Gemm { alpha: gemm.alpha.times(by, dtype)?, ..gemm })
}

/// `by` times the product and `factor` times C, which a factor of 0 would leave unread.
fn with_addend(gemm: Gemm, by: Factor, (c, factor): (Id, Factor), dtype: Dtype) -> Option<Gemm> {
    let gemm = scaled(gemm, by, dtype)?;
    (factor.number() != 0.0).then_some(Gemm { c: Some((c, factor)), ..gemm })
}
