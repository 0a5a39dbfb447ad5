//! From an expression as it was written to a graph: shapes and dtypes are checked, chains get their
//! order, and transposes and factors are put off until it is known who takes them.

mod product;

use alloc::format;
use alloc::vec::Vec;

use super::graph::{self, Factor, Graph, Id, Operation};
use super::tree::{Gemm, Node, Tree, Work};
use crate::gemm::{Algorithm, Dtype};
use crate::limits::{DIMENSION_MAX, ITERATE_CUTS_MAX, ITERATE_STEP_FLOPS, JOB_STEPS_MAX};
use crate::problem::{Problem, ProblemKind};
use crate::store::Layout;

/// A graph, and its nodes that are the results of a tree, in their order.
#[derive(Debug)]
pub(super) struct Lowered {
    pub graph: Graph,
    pub results: Vec<Id>,
    pub saved_flops: u64,
    /// Whether a chain has a power in it, which can be dealt with otherwise.
    pub has_powers: bool,
}

/// What is done with a power in a chain of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Powers {
    /// It is computed, by squaring.
    Squared,
    /// What stands beside it is multiplied by its base so many times, where squaring would take
    /// more operations if nobody else read the power.
    InSteps,
}

/// A matrix that is `by` times a node or its transpose.
#[derive(Clone, Copy, Debug)]
struct Term {
    node: Id,
    is_transposed: bool,
    by: Factor,
}

impl Term {
    fn transposed(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }
}

/// Makes the graph of a tree over operands of these layouts.
///
/// # Errors
///
/// A problem that names the expression at fault by a JSON pointer.
pub(super) fn lower(tree: &Tree, operands: &[Layout], powers: Powers) -> Result<Lowered, Problem> {
    let mut lowering =
        Lowering { graph: Graph::default(), saved_flops: 0, powers, has_powers: false };
    let mut terms = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let term = lowering.node(node, tree, &terms, operands)?;
        terms.push(term);
        // Nodes are made for inputs and what may be left out later, too: this bounds the work.
        if lowering.graph.nodes.len() > GRAPH_NODES_MAX {
            return Err(too_many_steps(tree));
        }
    }
    let results = tree.results.iter().map(|(_, node)| lowering.whole(terms[*node])).collect();
    let Lowering { graph, saved_flops, has_powers, .. } = lowering;
    let saved_flops = u64::try_from(saved_flops).unwrap_or(u64::MAX);
    Ok(Lowered { graph, results, saved_flops, has_powers })
}

/// That a job would take more steps than one may.
pub(super) fn too_many_steps(tree: &Tree) -> Problem {
    let detail = format!("the steps of a job are at most {JOB_STEPS_MAX}");
    let problem = Problem::new(ProblemKind::InvalidValue, detail).limit(JOB_STEPS_MAX as u64);
    problem.at(tree.place())
}

/// Steps that are left can be this many, and each is made of few nodes.
const GRAPH_NODES_MAX: usize = 4 * JOB_STEPS_MAX;

struct Lowering {
    graph: Graph,
    saved_flops: u128,
    powers: Powers,
    has_powers: bool,
}

impl Lowering {
    fn node(
        &mut self,
        node: &Node,
        tree: &Tree,
        terms: &[Term],
        operands: &[Layout],
    ) -> Result<Term, Problem> {
        let place = |index: usize| tree.nodes[index].place.as_str();
        Ok(match &node.work {
            Work::Operand(index) => self.term(Operation::Input(*index), operands[*index]),
            Work::Multiply { factors, alpha, algorithm } => {
                for pair in factors.windows(2) {
                    self.check_product(terms[pair[0]], terms[pair[1]], place(pair[1]))?;
                }
                let link = |factor: &usize| self.link(*factor, *algorithm, tree, terms);
                let chain: Vec<product::Link> = factors.iter().map(link).collect();
                self.has_powers |= chain.iter().any(|link| link.power.is_some());
                let by = factor(*alpha, self.dtype(chain[0].term), &node.place, "alpha")?;
                let product = self.chain(&chain, *algorithm);
                self.scaled(product, by)
            }
            Work::Gemm(gemm) => self.gemm(gemm, node, tree, terms)?,
            Work::Add { x, y, alpha, beta } => {
                let dtype = self.dtype(terms[*x]);
                let alpha = factor(*alpha, dtype, &node.place, "alpha")?;
                let beta = factor(*beta, dtype, &node.place, "beta")?;
                self.sum((terms[*x], alpha), (terms[*y], beta), place(*y))?
            }
            Work::Scale { of, by } => {
                let by = factor(*by, self.dtype(terms[*of]), &node.place, "scale/by")?;
                self.scaled(terms[*of], by)
            }
            Work::Transpose(of) => terms[*of].transposed(),
            Work::Power { of, exponent, algorithm } => {
                self.power(terms[*of], *exponent, *algorithm, place(*of))?
            }
            Work::Iterate { a, x, steps, snapshot_every } => {
                let (rows, columns) = self.shape(terms[*a]);
                if rows != columns {
                    return Err(not_square((rows, columns), place(*a)));
                }
                self.check_product(terms[*a], terms[*x], place(*x))?;
                self.iterate(terms[*a], terms[*x], *steps, *snapshot_every, node)?
            }
        })
    }

    fn gemm(
        &mut self,
        gemm: &Gemm,
        node: &Node,
        tree: &Tree,
        terms: &[Term],
    ) -> Result<Term, Problem> {
        let [mut a, mut b] = [gemm.a, gemm.b].map(|index| terms[index]);
        a.is_transposed ^= gemm.transpose_a;
        b.is_transposed ^= gemm.transpose_b;
        self.check_product(a, b, &tree.nodes[gemm.b].place)?;
        let dtype = self.dtype(a);
        let alpha = factor(gemm.alpha, dtype, &node.place, "gemm/alpha")?;
        let product = self.product(a, b, gemm.algorithm);
        let Some((c, beta)) = gemm.c else { return Ok(self.scaled(product, alpha)) };
        let beta = factor(beta, dtype, &node.place, "gemm/beta")?;
        self.sum((product, alpha), (terms[c], beta), &tree.nodes[c].place)
    }

    fn iterate(
        &mut self,
        a: Term,
        x: Term,
        steps: u64,
        snapshot_every: u64,
        node: &Node,
    ) -> Result<Term, Problem> {
        let states = steps.div_ceil(snapshot_every) as usize;
        let (rows, width) = self.shape(x);
        let columns = width.saturating_mul(states);
        if columns > DIMENSION_MAX {
            let detail = format!("{states} snapshots of {width} columns are a matrix too wide");
            let problem = Problem::new(ProblemKind::DimensionTooLarge, detail);
            return Err(problem.at(node.place.as_str()).limit(DIMENSION_MAX as u64));
        }
        let layout = Layout { dtype: self.dtype(x), rows, columns };
        let (a, x) = (self.whole(a), self.whole(x));
        Ok(match states {
            0 | 1 => self.steps(a, x, steps),
            _ => self.term(Operation::Iterate { a, x, steps, snapshot_every }, layout),
        })
    }

    /// `x <- A x` so many times: the last x.
    fn steps(&mut self, a: Id, mut x: Id, steps: u64) -> Term {
        let layout = self.graph.layout(x);
        let cuts = cuts(steps, (layout.rows, layout.columns));
        let ends = (0..=cuts).map(|cut| (u128::from(steps) * cut / cuts) as u64);
        let ends: Vec<u64> = ends.collect();
        for pair in ends.windows(2) {
            let steps = pair[1] - pair[0];
            (x, _) =
                self.graph.add(Operation::Iterate { a, x, steps, snapshot_every: steps }, layout);
        }
        Term { node: x, is_transposed: false, by: Factor::ONE }
    }

    /// Two matrices whose shapes go together.
    fn product(&mut self, a: Term, b: Term, algorithm: Algorithm) -> Term {
        let (rows, columns) = (self.shape(a).0, self.shape(b).1);
        let dtype = self.dtype(a);
        let (b, by) = match a.by.times(b.by, dtype) {
            Some(by) => (b, by),
            // Neither can wait for the other.
            None => (self.with_factor(b), a.by),
        };
        let gemm = graph::Gemm {
            a: a.node,
            b: b.node,
            transpose_a: a.is_transposed,
            transpose_b: b.is_transposed,
            alpha: Factor::ONE,
            c: None,
            algorithm,
        };
        let product = self.term(Operation::Gemm(gemm), Layout { dtype, rows, columns });
        Term { by, ..product }
    }

    fn sum(
        &mut self,
        (x, alpha): (Term, Factor),
        (y, beta): (Term, Factor),
        place_of_y: &str,
    ) -> Result<Term, Problem> {
        self.check_dtypes(x, y, place_of_y)?;
        let (of_x, of_y) = (self.shape(x), self.shape(y));
        if of_x != of_y {
            let detail = format!("{} x {} is added to {} x {}", of_y.0, of_y.1, of_x.0, of_x.1);
            return Err(Problem::new(ProblemKind::ShapeMismatch, detail).at(place_of_y));
        }
        let dtype = self.dtype(x);
        // The sum of two transposes is the transpose of their sum.
        let is_transposed = x.is_transposed && y.is_transposed;
        let [of_x, of_y] = [(x, alpha), (y, beta)].map(|(term, factor)| {
            let (term, factor) = match term.by.times(factor, dtype) {
                Some(by) => (term, by),
                None => (self.with_factor(term), factor),
            };
            let is_transposed = term.is_transposed ^ is_transposed;
            (self.whole(Term { by: Factor::ONE, is_transposed, ..term }), factor)
        });
        // One order for both ways to write it.
        let ((x, alpha), (y, beta)) = (of_x.min(of_y), of_x.max(of_y));
        let layout = self.graph.layout(x);
        let sum = self.term(Operation::Add { x, y, alpha, beta }, layout);
        Ok(Term { is_transposed, ..sum })
    }

    fn scaled(&mut self, term: Term, by: Factor) -> Term {
        match term.by.times(by, self.dtype(term)) {
            Some(by) => Term { by, ..term },
            None => Term { by, ..self.with_factor(term) },
        }
    }

    /// The same with the factor multiplied in.
    fn with_factor(&mut self, term: Term) -> Term {
        if term.by == Factor::ONE {
            return term;
        }
        let layout = self.graph.layout(term.node);
        let scaled = self.term(Operation::Scale { of: term.node, by: term.by }, layout);
        Term { is_transposed: term.is_transposed, ..scaled }
    }

    /// A node that is the term itself.
    fn whole(&mut self, term: Term) -> Id {
        let term = self.with_factor(term);
        if !term.is_transposed {
            return term.node;
        }
        let Layout { dtype, rows, columns } = self.graph.layout(term.node);
        let layout = Layout { dtype, rows: columns, columns: rows };
        self.graph.add(Operation::Transpose(term.node), layout).0
    }

    fn term(&mut self, operation: Operation, layout: Layout) -> Term {
        let (node, _) = self.graph.add(operation, layout);
        Term { node, is_transposed: false, by: Factor::ONE }
    }

    fn shape(&self, term: Term) -> (usize, usize) {
        let Layout { rows, columns, .. } = self.graph.layout(term.node);
        if term.is_transposed { (columns, rows) } else { (rows, columns) }
    }

    fn dtype(&self, term: Term) -> Dtype {
        self.graph.layout(term.node).dtype
    }

    fn check_product(&self, a: Term, b: Term, place_of_b: &str) -> Result<(), Problem> {
        self.check_dtypes(a, b, place_of_b)?;
        let ((m, k), (rows, n)) = (self.shape(a), self.shape(b));
        if k != rows {
            let detail = format!("{m} x {k} is multiplied by {rows} x {n}: {k} is not {rows}");
            return Err(Problem::new(ProblemKind::ShapeMismatch, detail).at(place_of_b));
        }
        Ok(())
    }

    fn check_dtypes(&self, x: Term, y: Term, place_of_y: &str) -> Result<(), Problem> {
        let (of_x, of_y) = (self.dtype(x), self.dtype(y));
        if of_x != of_y {
            let detail = format!("{} and {} are not mixed", of_x.name(), of_y.name());
            return Err(Problem::new(ProblemKind::InvalidValue, detail).at(place_of_y));
        }
        Ok(())
    }
}

/// How many parts so many steps are done in, with a state of this shape.
fn cuts(steps: u64, (rows, columns): (usize, usize)) -> u128 {
    let flops = 2 * (rows as u128).pow(2) * columns as u128 * u128::from(steps);
    let most = ITERATE_CUTS_MAX.min(steps).into();
    (flops / u128::from(ITERATE_STEP_FLOPS)).clamp(1, most)
}

/// A factor of a node's, which is to be a number of the dtype of what it scales.
fn factor(number: f64, dtype: Dtype, place: &str, part: &str) -> Result<Factor, Problem> {
    if dtype == Dtype::F32 && !(number as f32).is_finite() {
        let detail = "the number is larger than f32 can hold";
        let problem = Problem::new(ProblemKind::NumberOutOfRange, detail);
        return Err(problem.at(format!("{place}/{part}")));
    }
    Ok(Factor::of(number))
}

fn not_square((rows, columns): (usize, usize), place: &str) -> Problem {
    let detail = format!("a square matrix is required, and this is {rows} x {columns}");
    Problem::new(ProblemKind::ShapeMismatch, detail).at(place)
}
