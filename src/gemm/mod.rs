//! General matrix multiplication, `C <- alpha A B + beta C`, in bounded slices.
//!
//! [`Product`] owns the operands and the result of one job and is advanced slice by slice, so that
//! a machine with one core can serve its network in between. The sum of each element of C is taken
//! in an order that depends on the shape, the kernel and the caches alone: the result is the same
//! to the bit however the work was sliced.
//!
//! Products with a vector take [one pass](one_pass) over the matrix; all others go through the
//! [five loops](five_loops) of BLIS around a [microkernel](kernel) for the CPU at hand.

mod element;
mod five_loops;
mod kernel;
mod one_pass;
mod pack;
mod peak;
mod plan;
mod reference;
mod vector;

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::ops::Mul;

use ndarray::ArrayView2;

pub use element::{Dtype, Element};
pub use kernel::{Caches, Isa, Microkernel, caches, isa};
pub use peak::{Peak, multiply_add_loop};

use five_loops::FiveLoops;
use kernel::{Left, Scale};
use one_pass::OnePass;
use plan::Blocking;
use reference::Reference;

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

    fn elements<'a, T>(&self, buffer: &'a [T]) -> &'a [T] {
        &buffer[self.start..self.start + self.rows * self.columns]
    }

    fn operand<'a, T>(&self, buffer: &'a [T]) -> Left<'a, T> {
        let elements = self.elements(buffer);
        let (row_stride, column_stride) =
            if self.transposed { (1, self.columns) } else { (self.columns, 1) };
        Left { elements, row_stride, column_stride }
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
    way: Way<T>,
}

/// How the product is computed.
#[derive(Debug)]
enum Way<T: 'static> {
    /// There is nothing to sum up.
    Empty,
    /// The matrix is A, the vector B.
    MatrixVector(OnePass<T>),
    /// The matrix is B, the vector A.
    VectorMatrix(OnePass<T>),
    FiveLoops(FiveLoops<T>),
    Reference(Reference),
}

impl<T: Element> Product<T> {
    /// Sets up `alpha A B + beta C`. `a` (m x k) and `b` (k x n) lie in `operands`; `c` has m n
    /// elements, which are never read where `beta` is zero. Allocates [`workspace_bytes`], and
    /// fails where they can't be had.
    ///
    /// # Panics
    ///
    /// Where the inner dimensions differ, an extent leaves the buffer, or `c` has another size:
    /// the caller has checked the request.
    pub fn new(
        operands: Vec<T>,
        a: Extent,
        b: Extent,
        alpha: T,
        beta: T,
        c: Vec<T>,
    ) -> Result<Self, TryReserveError> {
        let way = Way::new(Kernel::of_this_machine(), caches(), a, b)?;
        Ok(Self::by(way, operands, (a, b), Scale { alpha, beta }, c))
    }

    fn by(
        way: Way<T>,
        operands: Vec<T>,
        (a, b): (Extent, Extent),
        scale: Scale<T>,
        c: Vec<T>,
    ) -> Self {
        let shape = shape_of(a, b);
        assert_eq!(shape.k, b.shape().0, "inner dimensions");
        assert_eq!(c.len(), shape.m * shape.n, "size of C");
        let mut product = Self { operands, a, b, scale, c, shape, way };
        if shape.k == 0 {
            // An empty sum is zero.
            scale_in_place(&mut product.c, scale.beta);
        }
        product
    }

    /// Rows, columns and terms.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Multiplies slices until `pause` says so, which is asked after each; true once C is complete.
    pub fn advance(&mut self, pause: &mut dyn FnMut() -> bool) -> bool {
        while !self.way.is_complete() {
            self.multiply_slice();
            if pause() {
                break;
            }
        }
        self.way.is_complete()
    }

    fn multiply_slice(&mut self) {
        let Self { operands, scale, c, .. } = self;
        let (scale, one) = (*scale, T::from_f64(1.0));
        let (a, b) = (self.a.operand(operands), self.b.operand(operands));
        match &mut self.way {
            Way::Empty => {}
            Way::MatrixVector(pass) => {
                pass.advance((a.elements, self.a.columns), b.elements, scale, one, c);
            }
            Way::VectorMatrix(pass) => {
                pass.advance((b.elements, self.b.columns), a.elements, scale, one, c);
            }
            Way::FiveLoops(loops) => loops.advance(a, b, scale, one, c),
            Way::Reference(tiles) => tiles.advance(operands, (self.a, self.b), scale, c),
        }
    }

    /// The operands and the result, both to be used again.
    pub fn into_parts(self) -> (Vec<T>, Vec<T>) {
        (self.operands, self.c)
    }

    /// The finished result, row by row; the operands are freed.
    pub fn into_result(self) -> Vec<T> {
        self.c
    }
}

/// Bytes that a product allocates besides its operands and result: for packing.
pub fn workspace_bytes<T: Element>(a: Extent, b: Extent) -> usize {
    match Kernel::of_this_machine() {
        Kernel::Own(isa) if is_of_matrices(shape_of(a, b)) => {
            let kernel = T::microkernel(isa);
            let blocking = Blocking::new(kernel, caches(), shape_of(a, b), (a, b));
            FiveLoops::<T>::workspace_len(&blocking) * size_of::<T>()
        }
        _ => 0,
    }
}

fn shape_of(a: Extent, b: Extent) -> Shape {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    Shape { m, n, k }
}

/// Nothing is a vector, and nothing is empty.
fn is_of_matrices(shape: Shape) -> bool {
    shape.m > 1 && shape.n > 1 && shape.k > 0
}

impl<T: Element> Way<T> {
    fn new(kernel: Kernel, caches: Caches, a: Extent, b: Extent) -> Result<Self, TryReserveError> {
        let shape @ Shape { m, n, k } = shape_of(a, b);
        let isa = match kernel {
            _ if m == 0 || n == 0 || k == 0 => return Ok(Self::Empty),
            Kernel::Own(isa) => isa,
            Kernel::Matrixmultiply => return Ok(Self::Reference(Reference::new(shape))),
        };
        let kernel = T::microkernel(isa);
        Ok(if n == 1 {
            Self::MatrixVector(OnePass::new(kernel, !a.transposed, (m, k)))
        } else if m == 1 {
            Self::VectorMatrix(OnePass::new(kernel, b.transposed, (n, k)))
        } else {
            let blocking = Blocking::new(kernel, caches, shape, (a, b));
            Self::FiveLoops(FiveLoops::new(kernel, shape, blocking)?)
        })
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::MatrixVector(pass) | Self::VectorMatrix(pass) => pass.is_complete(),
            Self::FiveLoops(loops) => loops.is_complete(),
            Self::Reference(tiles) => tiles.is_complete(),
        }
    }
}

/// `c <- beta c`, which does not read C where `beta` is zero.
fn scale_in_place<T: Copy + Default + PartialEq + Mul<Output = T>>(c: &mut [T], beta: T) {
    if beta == T::default() {
        c.fill(beta);
    } else {
        for element in c {
            *element = beta * *element;
        }
    }
}

#[cfg(test)]
mod tests;
