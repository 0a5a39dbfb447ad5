//! What is to be computed, in whatever format it came.

use alloc::format;
use alloc::vec::Vec;

use crate::gemm::{Element, Extent, Shape};
use crate::problem::{Problem, ProblemKind};

/// A checked request, by element type.
#[derive(Debug)]
pub enum MultiplyRequest {
    F64(Operation<f64>),
    F32(Operation<f32>),
}

/// What is to be computed: `alpha A B + beta C`, shapes checked.
#[derive(Debug)]
pub struct Operation<T> {
    /// The elements of A and B.
    pub elements: Vec<T>,
    pub a: Extent,
    pub b: Extent,
    /// The elements of C, row by row, where beta is not zero: the result takes their place.
    pub c: Option<Vec<T>>,
    pub alpha: T,
    pub beta: T,
    pub shape: Shape,
}

/// The parts of a request as they came, unchecked against each other.
#[derive(Debug, Default)]
pub struct Parts<T> {
    /// The elements of A and B, in any order, with or without gaps between them.
    pub elements: Vec<T>,
    /// Where A lies, and whether column by column, which is its transpose row by row.
    pub a: Option<Extent>,
    pub b: Option<Extent>,
    pub c: Option<Addend<T>>,
    pub alpha: Option<T>,
    pub beta: Option<T>,
    /// The operand is to be the transpose of what came as A.
    pub transpose_a: bool,
    pub transpose_b: bool,
}

/// The matrix that is added to the product.
#[derive(Debug)]
pub struct Addend<T> {
    /// `rows * columns` elements, row by row.
    pub elements: Vec<T>,
    pub rows: usize,
    pub columns: usize,
}

impl<T: Element> Operation<T> {
    /// Checks that nothing is missing and that the shapes go together.
    ///
    /// # Errors
    ///
    /// A problem that names the matrix at fault, as `/a`, `/b` or `/c`.
    pub fn check(parts: Parts<T>) -> Result<Self, Problem> {
        let mut a = parts.a.ok_or_else(|| missing("a"))?;
        let mut b = parts.b.ok_or_else(|| missing("b"))?;
        a.transposed ^= parts.transpose_a;
        b.transposed ^= parts.transpose_b;
        let c = parts.c.as_ref().map(|c| (c.rows, c.columns));
        let shape = check_shapes(a.shape(), b.shape(), c)?;
        let zero = T::from_f64(0.0);
        let beta = match (parts.beta, &parts.c) {
            (None, None) => zero,
            (None, Some(_)) => T::from_f64(1.0),
            (Some(beta), c) if beta == zero || c.is_some() => beta,
            (Some(_), _) => return Err(missing("c")),
        };
        Ok(Self {
            elements: parts.elements,
            a,
            b,
            c: parts.c.filter(|_| beta != zero).map(|c| c.elements),
            alpha: parts.alpha.unwrap_or(T::from_f64(1.0)),
            beta,
            shape,
        })
    }
}

/// The shape of the product of two operands, transposes taken, to which a matrix of the shape `c`
/// is added if there is one; each as rows and columns.
///
/// # Errors
///
/// A problem that names the matrix whose shape doesn't go with the others.
pub fn check_shapes(
    (m, k): (usize, usize),
    (b_rows, n): (usize, usize),
    c: Option<(usize, usize)>,
) -> Result<Shape, Problem> {
    if k != b_rows {
        let detail = format!("a is {m} x {k} and b is {b_rows} x {n}: {k} is not {b_rows}");
        return Err(Problem::new(ProblemKind::ShapeMismatch, detail).at("/b"));
    }
    if let Some((rows, columns)) = c
        && (rows, columns) != (m, n)
    {
        let detail = format!("c is {rows} x {columns} and the product is {m} x {n}");
        return Err(Problem::new(ProblemKind::ShapeMismatch, detail).at("/c"));
    }
    Ok(Shape { m, n, k })
}

fn missing(field: &str) -> Problem {
    Problem::new(ProblemKind::MissingField, format!("{field} is required")).at(format!("/{field}"))
}
