//! Microkernels, and their contract.
//!
//! A microkernel computes one tile of the result,
//!
//! ```text
//! C[i, j] <- alpha * sum over p < terms of A[i, p] * B[p, j]  +  beta * C[i, j]
//! ```
//!
//! for i < rows <= `mr` and j < columns <= `nr`, with the whole sum in registers. Its operands:
//!
//! - A has any two strides: element (i, p) is `a.elements[i * a.row_stride + p * a.column_stride]`,
//!   so A may be packed, as it came, or the transpose of what came. Packed, it is in micropanels of
//!   `mr` rows, column after column: row stride 1, column stride `mr`.
//! - The rows of B are contiguous: element (p, j) is `b.elements[p * b.row_stride + j]`. Packed, it
//!   is in micropanels of `nr` columns, row after row: row stride `nr`.
//! - The rows of C are contiguous too. Nothing between `columns` and the row stride is touched.
//! - Where `beta` is zero, C is not read: it may hold anything, NaN included.
//!
//! The sum of one element is taken in the order of p, fused multiply-adds in the vector kernels,
//! whatever the position of the element in the tile and the size of the tile.

mod cpu;
mod portable;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod arguments;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod passes;

// Where the target has no vector registers (kernels of operating systems), the portable one serves.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod avx512;

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use portable as avx2;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use portable as avx512;

pub use cpu::{Caches, Isa, caches, isa};

/// The left operand of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a, T> {
    pub elements: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// The right operand of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a, T> {
    pub elements: &'a [T],
    pub row_stride: usize,
    /// From an element in use to one that is fetched meanwhile; a wrong guess costs time only.
    pub ahead: usize,
}

/// The result of a tile.
#[derive(Debug)]
pub struct Target<'a, T> {
    pub elements: &'a mut [T],
    pub row_stride: usize,
}

/// The size of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
    pub terms: usize,
}

/// The microkernel of one instruction set and element type, with its passes over matrices that
/// meet a vector.
#[derive(Clone, Copy, Debug)]
pub struct Microkernel<T> {
    /// The tallest tile.
    pub mr: usize,
    /// The widest tile.
    pub nr: usize,
    /// Elements of a vector, which `nr` is a multiple of.
    pub lanes: usize,
    pub dots: Dots<T>,
    pub axpys: Axpys<T>,
    tile: Tile<T>,
}

/// `result[i] <- scale(sum over p of matrix[i * stride + p] * vector[p])`.
pub type Dots<T> = fn(matrix: &[T], stride: usize, vector: &[T], scale: Scale<T>, result: &mut [T]);

/// `result[j] += sum over p of alpha * vector[p] * matrix[p * stride + j]`.
pub type Axpys<T> = fn(matrix: &[T], stride: usize, vector: &[T], alpha: T, result: &mut [T]);

type Tile<T> = fn(Size, Left<T>, Right<T>, Scale<T>, Target<T>);

/// What becomes of a sum: `alpha * sum + beta * C`.
#[derive(Clone, Copy, Debug)]
pub struct Scale<T> {
    pub alpha: T,
    pub beta: T,
}

impl<T: Copy> Microkernel<T> {
    /// Computes one tile.
    ///
    /// # Panics
    ///
    /// Where the tile is empty or larger than `mr` x `nr`, or an operand does not hold it: what the
    /// unsafe code of the kernels relies on.
    #[inline]
    pub fn multiply(&self, size: Size, a: Left<T>, b: Right<T>, scale: Scale<T>, c: Target<T>) {
        let Size { rows, columns, terms } = size;
        assert!((1..=self.mr).contains(&rows) && (1..=self.nr).contains(&columns) && terms > 0);
        let last_of_a = (rows - 1) * a.row_stride + (terms - 1) * a.column_stride;
        assert!(last_of_a < a.elements.len());
        assert!((terms - 1) * b.row_stride + columns <= b.elements.len());
        assert!((rows - 1) * c.row_stride + columns <= c.elements.len());
        (self.tile)(size, a, b, scale, c);
    }
}

macro_rules! microkernel_of {
    ($of:ident, $element:ty, $constant:ident) => {
        /// The microkernel of an instruction set.
        ///
        /// # Panics
        ///
        /// Where this CPU does not have it.
        pub fn $of(isa: Isa) -> &'static Microkernel<$element> {
            assert!(isa.is_here(), "this CPU has no {}", isa.name());
            match isa {
                Isa::Avx512 => &avx512::$constant,
                Isa::Avx2 => &avx2::$constant,
                Isa::Portable => &portable::$constant,
            }
        }
    };
}

microkernel_of!(of_f64, f64, F64);
microkernel_of!(of_f32, f32, F32);
