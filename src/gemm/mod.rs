//! General matrix multiplication, `C <- alpha A B + beta C`.
//!
//! [`multiply`] takes views and returns when C is there. [`Product`] owns the operands and the
//! result of one job and is advanced slice by slice, so that a machine with one core can serve its
//! network in between. Both can share the work among a [`Crew`] of threads.
//!
//! # Ways
//!
//! Products with a vector take one pass over the matrix (`one_pass`). What fits the caches is
//! multiplied as it lies (`direct`); all others go through the five loops of BLIS (`five_loops`).
//! Both are loops around a microkernel for the CPU at hand (`kernel`).
//!
//! # What is reproducible
//!
//! The terms of an element of C are summed in an order that depends on the shape of the product,
//! the kernel and the caches: one after the other in blocks, whose sums are added up one after the
//! other. It is the same on every run, however the work was sliced, and whatever the number of
//! threads, and so is the result, to the bit. On a machine with other vector instructions or caches
//! it may differ within the error bound.
//!
//! # How exact it is
//!
//! With u the unit roundoff (2^-53 for f64, 2^-24 for f32), the computed C differs from the exact
//! one in element (i, j) by no more than
//!
//! ```text
//! (k + 3) u (|alpha| sum over p of |A[i, p]| |B[p, j]|  +  |beta C[i, j]|)
//! ```
//!
//! to first order in u: every term takes part in at most k roundings, and scaling by alpha and beta
//! and adding them adds three (Higham, Accuracy and Stability of Numerical Algorithms, section 3.5,
//! whose bound holds for any order of the sum). Sums that overflow are infinite, and NaN and
//! infinities go where IEEE 754 sends them.

mod batch;
mod check;
mod crew;
mod direct;
mod element;
mod five_loops;
mod kernel;
mod matrix;
mod one_pass;
mod pack;
mod parts;
mod peak;
mod plan;
mod reference;
pub(crate) mod residual;
mod sliced;
mod small;
mod strassen;

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use ndarray::{ArrayView2, ArrayViewMut2};

pub use batch::multiply_batch;
pub use check::{CheckError, check};
pub use crew::{Alone, Crew};
pub use element::{Dtype, Element};
pub use kernel::{Caches, Isa, Microkernel, caches, has_bit_counts, has_byte_vectors, isa};
pub use parts::Workspace;
pub use peak::{Peak, multiply_add_loop};
pub use residual::{Residual, WrongRow};
pub use sliced::{Slices, workspace_bytes_max};
pub use strassen::Algorithm;

use kernel::Scale;
use matrix::{Source, Target};
use parts::Parts;
use plan::Layout;
use small::{Small, is_small, shared_rows};
use strassen::{Plan, Strassen};

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The microkernels for an instruction set.
    Own(Isa),
    /// The crate of this name.
    Matrixmultiply,
}

impl Kernel {
    /// The kernel of this machine: the best one here, unless the build was made with
    /// `GEMMULE_KERNEL=matrixmultiply` in its environment.
    pub fn of_this_machine() -> Self {
        const IS_BUILT_FOR_FALLBACK: bool = match option_env!("GEMMULE_KERNEL") {
            Some(name) => matches!(name.as_bytes(), b"matrixmultiply"),
            None => false,
        };
        if IS_BUILT_FOR_FALLBACK { Self::Matrixmultiply } else { Self::Own(kernel::isa()) }
    }

    /// The kernel that checks on this one: no code of theirs is the same.
    pub const fn to_compute_again(self) -> Self {
        match self {
            Self::Own(_) => Self::Matrixmultiply,
            Self::Matrixmultiply => Self::Own(Isa::Portable),
        }
    }

    /// Its name on bills and in `/v1/version`: `avx512`, `avx2`, `portable` or `matrixmultiply`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own(isa) => isa.name(),
            Self::Matrixmultiply => "matrixmultiply",
        }
    }
}

/// The shape of a product: an m x k operand times a k x n operand is an m x n result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Shape {
    /// Multiplications and additions of a product of this shape, as many of them as a u64 counts.
    pub fn flops(self) -> u64 {
        let product = (self.m as u64).saturating_mul(self.n as u64).saturating_mul(self.k as u64);
        product.saturating_mul(2)
    }
}

/// A matrix within a shared buffer, row by row, `rows * columns` elements from `start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub start: usize,
    pub rows: usize,
    pub columns: usize,
    /// The operand is the transpose of what lies in the buffer.
    pub transposed: bool,
}

impl Extent {
    /// Rows and columns of the operand, the transpose taken.
    pub fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    fn view<'a, T>(&self, buffer: &'a [T]) -> ArrayView2<'a, T> {
        let view = ArrayView2::from_shape((self.rows, self.columns), self.elements(buffer))
            .expect("the slice was cut to rows x columns");
        if self.transposed { view.reversed_axes() } else { view }
    }

    /// Its elements, as they lie.
    pub(crate) fn elements<'a, T>(&self, buffer: &'a [T]) -> &'a [T] {
        &buffer[self.start..self.start + self.rows * self.columns]
    }
}

/// Multiplies views of any strides: `c <- alpha a b + beta c`, where `a` is m x k, `b` k x n and
/// `c` m x n. `c` is not read where `beta` is zero. It packs in the workspace, and fails where
/// there is no memory for that.
///
/// # Panics
///
/// Where the shapes do not go together.
pub fn multiply<T: Element>(
    alpha: T,
    a: &ArrayView2<T>,
    b: &ArrayView2<T>,
    beta: T,
    c: &mut ArrayViewMut2<T>,
    crew: &dyn Crew,
    workspace: &mut Workspace<T>,
) -> Result<(), TryReserveError> {
    multiply_by(Algorithm::Classical, (alpha, beta), (a, b), c, crew, workspace)
}

/// As [`multiply`], by an algorithm of choice, which takes more of the workspace.
///
/// # Panics
///
/// Where the shapes do not go together.
pub fn multiply_by<T: Element>(
    algorithm: Algorithm,
    (alpha, beta): (T, T),
    (a, b): (&ArrayView2<T>, &ArrayView2<T>),
    c: &mut ArrayViewMut2<T>,
    crew: &dyn Crew,
    workspace: &mut Workspace<T>,
) -> Result<(), TryReserveError> {
    let levels = algorithm.levels(checked_shape(a, b, c));
    multiply_halved(levels, (alpha, beta), (a, b), c, crew, workspace)
}

/// As [`multiply`], halved so many times by Winograd's variant of Strassen's algorithm, worth it or
/// not: to measure where it is.
///
/// # Panics
///
/// Where the shapes do not go together, or can't be halved so often.
pub fn multiply_halved<T: Element>(
    levels: usize,
    (alpha, beta): (T, T),
    (a, b): (&ArrayView2<T>, &ArrayView2<T>),
    c: &mut ArrayViewMut2<T>,
    crew: &dyn Crew,
    workspace: &mut Workspace<T>,
) -> Result<(), TryReserveError> {
    let shape @ Shape { m, n, .. } = checked_shape(a, b, c);
    let scale = Scale { alpha, beta };
    let kernel = Kernel::of_this_machine();
    let threads = crew.threads(shape.flops());
    if let (Kernel::Own(isa), 0) = (kernel, levels) {
        let kernel = T::microkernel(isa);
        let shared_rows = if threads == 1 { Some(m) } else { shared_rows(kernel, m, threads) };
        if let (Some(rows), true) = (shared_rows, is_small(kernel, a, b, c)) {
            let small = Small::new(a, b, c);
            #[allow(unsafe_code)]
            // SAFETY: the views are those of the product, and their shapes go together.
            unsafe {
                match threads {
                    1 => small.multiply(kernel, &mut small.tile(scale)),
                    _ => small.multiply_shared(kernel, scale, rows, crew),
                }
            }
            return Ok(());
        }
    }
    let (row_stride, column_stride) = (c.strides()[0], c.strides()[1]);
    if n > 1 && column_stride != 1 {
        if m > 1 && row_stride != 1 {
            return multiply_apart(levels, (alpha, beta), (a, b), c, crew, workspace);
        }
        // The rows of the transpose are contiguous.
        let mut c = c.view_mut().reversed_axes();
        let turned = (&b.t(), &a.t());
        return multiply_halved(levels, (alpha, beta), turned, &mut c, crew, workspace);
    }
    let operands = Operands { a: *a, b: *b, c: c.view_mut() };
    let plan = Plan { whole: shape, levels, adds: beta != T::default() };
    let mut course = Course::new((kernel, caches()), plan, operands.layout(), threads, workspace)?;
    course.advance(operands, scale, crew, &|| false);
    course.recycle(workspace);
    Ok(())
}

/// The result has gaps in its rows and its columns: it is computed without, and copied.
fn multiply_apart<T: Element>(
    levels: usize,
    factors: (T, T),
    operands: (&ArrayView2<T>, &ArrayView2<T>),
    c: &mut ArrayViewMut2<T>,
    crew: &dyn Crew,
    workspace: &mut Workspace<T>,
) -> Result<(), TryReserveError> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(c.len())?;
    // Where beta is zero, these are as little read as those of C.
    elements.extend(c.iter().copied());
    let mut apart =
        ArrayViewMut2::from_shape(c.raw_dim(), &mut elements).expect("as many elements as C");
    multiply_halved(levels, factors, operands, &mut apart, crew, workspace)?;
    c.assign(&apart);
    Ok(())
}

#[inline]
fn checked_shape<T>(a: &ArrayView2<T>, b: &ArrayView2<T>, c: &ArrayViewMut2<T>) -> Shape {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert_eq!(k, b.nrows(), "inner dimensions");
    assert_eq!(c.dim(), (m, n), "shape of C");
    Shape { m, n, k }
}

/// What a slice of work reads and writes.
struct Operands<'a, T> {
    a: ArrayView2<'a, T>,
    b: ArrayView2<'a, T>,
    c: ArrayViewMut2<'a, T>,
}

impl<T> Operands<'_, T> {
    fn parts(&mut self) -> (Source<T>, Source<T>, Target<T>) {
        (Source::of(&self.a), Source::of(&self.b), Target::of(&mut self.c))
    }

    fn layout(&self) -> Layout {
        let Self { a, b, c } = self;
        let ((m, k), n) = (a.dim(), b.ncols());
        let steps = |length: usize, stride: isize| length <= 1 || stride == 1;
        let (a_rows, a_columns) = (steps(k, a.strides()[1]), steps(m, a.strides()[0]));
        let (b_rows, b_columns) = (steps(n, b.strides()[1]), steps(k, b.strides()[0]));
        let vectors = match (m, n) {
            (_, 1) => b_columns && steps(m, c.strides()[0]),
            (1, _) => a_rows && steps(n, c.strides()[1]),
            _ => false,
        };
        let b_has_gaps = k > 1 && b.strides()[0] != n as isize;
        let shape = Shape { m, n, k };
        Layout { shape, a_rows, a_columns, b_rows, b_columns, b_has_gaps, vectors }
    }
}

/// How a product is computed, and where it stands.
#[derive(Debug)]
enum Course<T: 'static> {
    Classical(Parts<T>),
    Strassen(Box<Strassen<T>>),
}

impl<T: Element> Course<T> {
    fn new(
        (kernel, caches): (Kernel, Caches),
        plan: Plan,
        layout: Layout,
        threads: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<Self, TryReserveError> {
        if plan.levels == 0 {
            return Ok(Self::Classical(Parts::new(kernel, caches, layout, threads, workspace)?));
        }
        let strassen = Strassen::new((kernel, caches), plan, layout, threads, workspace)?;
        Ok(Self::Strassen(Box::new(strassen)))
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Classical(parts) => parts.is_complete(),
            Self::Strassen(strassen) => strassen.is_complete(),
        }
    }

    fn advance(
        &mut self,
        operands: Operands<T>,
        scale: Scale<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        match self {
            Self::Classical(parts) => parts.advance(operands, scale, crew, pause),
            Self::Strassen(strassen) => strassen.advance(operands, scale, crew, pause),
        }
    }

    fn flops_done(&self) -> u64 {
        match self {
            Self::Classical(parts) => parts.flops_done(),
            Self::Strassen(strassen) => strassen.flops_done(),
        }
    }

    fn executed_flops(&self) -> u64 {
        match self {
            Self::Classical(parts) => parts.flops_done(),
            Self::Strassen(strassen) => strassen.executed_flops(),
        }
    }

    fn recycle(self, workspace: &mut Workspace<T>) {
        match self {
            Self::Classical(parts) => parts.recycle(workspace),
            Self::Strassen(strassen) => strassen.recycle(workspace),
        }
    }
}

/// One product on its way.
#[derive(Debug)]
pub struct Product<T: 'static> {
    operands: Vec<T>,
    a: Extent,
    b: Extent,
    scale: Scale<T>,
    /// m x n, row by row. Holds the caller's C to begin with where beta is not zero.
    c: Vec<T>,
    shape: Shape,
    course: Course<T>,
}

impl<T: Element> Product<T> {
    /// Sets up `alpha A B + beta C`. `a` (m x k) and `b` (k x n) lie in `operands`; `c` has m n
    /// elements, which are never read where `beta` is zero. It is cut into parts for as many
    /// threads as it may be given. Allocates [`workspace_bytes`], and fails where they can't be
    /// had.
    ///
    /// # Panics
    ///
    /// Where the inner dimensions differ, an extent leaves the buffer, or `c` has another size:
    /// the caller has checked the request.
    pub fn new(
        operands: Vec<T>,
        (a, b): (Extent, Extent),
        (alpha, beta): (T, T),
        c: Vec<T>,
        threads: usize,
    ) -> Result<Self, TryReserveError> {
        Self::by_kernel(Kernel::of_this_machine(), operands, (a, b), (alpha, beta), c, threads)
    }

    /// As `new`, by a kernel that need not be this machine's best.
    ///
    /// # Panics
    ///
    /// As `new`, and where this CPU does not have the kernel's instructions.
    pub fn by_kernel(
        kernel: Kernel,
        operands: Vec<T>,
        (a, b): (Extent, Extent),
        (alpha, beta): (T, T),
        c: Vec<T>,
        threads: usize,
    ) -> Result<Self, TryReserveError> {
        let way = (kernel, Algorithm::Classical);
        Self::by_kernel_and_algorithm(way, operands, (a, b), (alpha, beta), c, threads)
    }

    /// As `new`, by an algorithm of choice: allocates [`workspace_bytes_by`].
    ///
    /// # Panics
    ///
    /// As `new`.
    pub fn by_algorithm(
        algorithm: Algorithm,
        operands: Vec<T>,
        (a, b): (Extent, Extent),
        factors: (T, T),
        c: Vec<T>,
        threads: usize,
    ) -> Result<Self, TryReserveError> {
        let way = (Kernel::of_this_machine(), algorithm);
        Self::by_kernel_and_algorithm(way, operands, (a, b), factors, c, threads)
    }

    fn by_kernel_and_algorithm(
        (kernel, algorithm): (Kernel, Algorithm),
        operands: Vec<T>,
        (a, b): (Extent, Extent),
        (alpha, beta): (T, T),
        c: Vec<T>,
        threads: usize,
    ) -> Result<Self, TryReserveError> {
        let layout = layout_of(a, b);
        let plan = Plan::new(algorithm, layout.shape, beta != T::default());
        let way = (kernel, caches());
        let course = Course::new(way, plan, layout, threads, &mut Workspace::default())?;
        Ok(Self::by(course, operands, (a, b), Scale { alpha, beta }, c))
    }

    fn by(
        course: Course<T>,
        operands: Vec<T>,
        (a, b): (Extent, Extent),
        scale: Scale<T>,
        c: Vec<T>,
    ) -> Self {
        let shape = shape_of(a, b);
        assert_eq!(shape.k, b.shape().0, "inner dimensions");
        assert_eq!(c.len(), shape.m * shape.n, "size of C");
        Self { operands, a, b, scale, c, shape, course }
    }

    /// Rows, columns and terms.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The buffer that A and B lie in, and where.
    pub(crate) fn operands(&self) -> (&[T], [Extent; 2]) {
        (&self.operands, [self.a, self.b])
    }

    /// The result, row by row, as far as it has come: before the first advance, the caller's C.
    pub(crate) fn c(&self) -> &[T] {
        &self.c
    }

    /// A seam for tests.
    #[cfg(test)]
    pub(crate) fn c_mut(&mut self) -> &mut [T] {
        &mut self.c
    }

    /// Those of a classical product.
    #[cfg(test)]
    fn parts(&self) -> &Parts<T> {
        match &self.course {
            Course::Classical(parts) => parts,
            Course::Strassen(_) => panic!("not a classical product"),
        }
    }

    /// All that it was made of, with the result in the place of C.
    pub(crate) fn into_parts(self) -> (Vec<T>, [Extent; 2], (T, T), Vec<T>) {
        (self.operands, [self.a, self.b], (self.scale.alpha, self.scale.beta), self.c)
    }

    /// Alpha and beta.
    pub(crate) fn factors(&self) -> (T, T) {
        (self.scale.alpha, self.scale.beta)
    }

    /// Multiplications and additions done, of 2 m n k: nominal ones, whatever the algorithm.
    pub fn flops_done(&self) -> u64 {
        self.course.flops_done()
    }

    /// Those that were executed: fewer in the end, by an algorithm that takes fewer.
    pub fn executed_flops(&self) -> u64 {
        self.course.executed_flops()
    }

    /// Multiplies slices until `pause` says so, which every thread asks after each; true once C is
    /// complete.
    pub fn advance(&mut self, crew: &dyn Crew, pause: &(dyn Fn() -> bool + Sync)) -> bool {
        if !self.course.is_complete() {
            let Shape { m, n, .. } = self.shape;
            let c = ArrayViewMut2::from_shape((m, n), &mut self.c).expect("checked in `by`");
            let (a, b) = (self.a.view(&self.operands), self.b.view(&self.operands));
            self.course.advance(Operands { a, b, c }, self.scale, crew, pause);
        }
        self.course.is_complete()
    }

    /// The finished result, row by row; the operands are freed.
    pub fn into_result(self) -> Vec<T> {
        self.c
    }
}

/// Bytes that a product allocates besides its operands and result: for packing.
pub fn workspace_bytes<T: Element>(a: Extent, b: Extent, threads: usize) -> usize {
    workspace_bytes_by::<T>(Algorithm::Classical, (a, b), false, threads)
}

/// As [`workspace_bytes`], by an algorithm of choice, of a product that adds to C or does not:
/// where beta is zero.
pub fn workspace_bytes_by<T: Element>(
    algorithm: Algorithm,
    (a, b): (Extent, Extent),
    adds: bool,
    threads: usize,
) -> usize {
    let layout = layout_of(a, b);
    let plan = Plan::new(algorithm, layout.shape, adds);
    plan.workspace_bytes::<T>(Kernel::of_this_machine(), caches(), layout, threads)
}

fn shape_of(a: Extent, b: Extent) -> Shape {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    Shape { m, n, k }
}

/// The layout of extents, and a result without gaps.
fn layout_of(a: Extent, b: Extent) -> Layout {
    // A matrix of one row or column has both contiguous.
    let is_vector = |extent: Extent| extent.rows <= 1 || extent.columns <= 1;
    let rows = |extent: Extent| is_vector(extent) || !extent.transposed;
    let columns = |extent: Extent| is_vector(extent) || extent.transposed;
    Layout {
        shape: shape_of(a, b),
        a_rows: rows(a),
        a_columns: columns(a),
        b_rows: rows(b),
        b_columns: columns(b),
        b_has_gaps: false,
        vectors: true,
    }
}

#[cfg(test)]
mod tests;
