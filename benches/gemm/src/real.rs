//! The two element types, and what the contestants want to know of them.

use gemmule::gemm::Element;

/// `matrixmultiply::{sgemm, dgemm}`: m, k, n, alpha, A, B, beta, C, each with its strides.
pub type MatrixmultiplyGemm<T> = unsafe fn(
    usize,
    usize,
    usize,
    T,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    *mut T,
    isize,
    isize,
);

pub trait Real: Element + faer::traits::ComplexField + 'static {
    /// In the names of the BLAS.
    const LETTER: char;
    /// Integers up to two to this are exact.
    const MANTISSA_BITS: u32;
    const ZERO: Self;
    const ONE: Self;
    const NAN: Self;
    const MATRIXMULTIPLY: MatrixmultiplyGemm<Self>;

    /// The integer that this is, if it is one.
    fn to_integer(self) -> Option<i64>;
}

macro_rules! impl_real {
    ($real:ty, $letter:literal, $gemm:path) => {
        impl Real for $real {
            const LETTER: char = $letter;
            const MANTISSA_BITS: u32 = <$real>::MANTISSA_DIGITS;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAN: Self = <$real>::NAN;
            const MATRIXMULTIPLY: MatrixmultiplyGemm<Self> = $gemm;

            fn to_integer(self) -> Option<i64> {
                let integer = self as i64;
                (integer as $real == self).then_some(integer)
            }
        }
    };
}

impl_real!(f64, 'd', matrixmultiply::dgemm);
impl_real!(f32, 's', matrixmultiply::sgemm);
