//! A product that somebody asks for as such, as the one step of a program.

use alloc::vec;

use super::emit;
use super::graph::{Factor, Gemm, Operation};
use super::parse::RESULT;
use super::program::{Input, NamedResult, Program, Source};
use crate::gemm::Algorithm;
use crate::store::Layout;

/// `alpha A B + beta C`, of matrices or their transposes, whose shapes have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub a: Layout,
    pub b: Layout,
    /// Where beta is not zero.
    pub c: Option<Layout>,
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub alpha: f64,
    pub beta: f64,
}

impl Product {
    /// The program; `None` where its operations can't be counted.
    pub fn program(&self) -> Option<Program> {
        let names = [("a", Some(self.a)), ("b", Some(self.b)), ("c", self.c)];
        let inputs = names
            .into_iter()
            .filter_map(|(name, layout)| layout.map(|layout| Input { name: name.into(), layout }));
        let mut program = Program {
            inputs: inputs.collect(),
            steps: vec![],
            results: vec![NamedResult { name: RESULT.into(), source: Source::Step(0) }],
            saved_flops: 0,
        };
        let gemm = Gemm {
            a: 0,
            b: 1,
            transpose_a: self.transpose_a,
            transpose_b: self.transpose_b,
            alpha: Factor::of(self.alpha),
            c: self.c.map(|_| (2, Factor::of(self.beta))),
            algorithm: Algorithm::Classical,
        };
        let (of_a, of_b) = (self.a, self.b);
        let rows = if self.transpose_a { of_a.columns } else { of_a.rows };
        let columns = if self.transpose_b { of_b.rows } else { of_b.columns };
        let layout = Layout { dtype: of_a.dtype, rows, columns };
        let operands = (0..program.inputs.len()).map(Source::Input).collect();
        program.steps.push(emit::step(Operation::Gemm(gemm), layout, operands, &program)?);
        Some(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::StepWork;
    use crate::gemm::Dtype;

    #[test]
    fn a_product_is_one_step() {
        let layout = |rows, columns| Layout { dtype: Dtype::F32, rows, columns };
        let (a, b) = (layout(3, 2), layout(3, 4));
        let c = Some(layout(2, 4));
        let (transpose_a, transpose_b, alpha, beta) = (true, false, 0.5, 2.0);
        let product = Product { a, b, c, transpose_a, transpose_b, alpha, beta };
        let program = product.program().expect("it can be counted");
        let step = &program.steps[0];
        assert_eq!(step.id, "1: 0.5*a'*b + 2*c");
        let algorithm = Algorithm::Classical;
        assert_eq!(step.work, StepWork::Gemm { alpha, beta, transpose_a, transpose_b, algorithm });
        assert_eq!((step.layout, step.operands.len()), (layout(2, 4), 3));
        // 2 m n k; m n for alpha; 2 m n for C.
        assert_eq!(step.flops, 48 + 8 + 16);
        assert!(serde_json::to_vec(&program).is_ok_and(|text| {
            serde_json::from_slice::<Program>(&text).is_ok_and(|read| read == program)
        }));
        let huge = layout(1 << 31, 1 << 31);
        let too_large = Product { a: huge, b: huge, c: None, beta: 0.0, ..product };
        assert!(too_large.program().is_none());
    }
}
