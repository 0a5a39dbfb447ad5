//! Whether a product is right, in a few operations for each element of its matrices: Freivalds'
//! check, `C r = alpha A (B r) + beta C0 r` for a vector `r` that nobody could foresee.
//!
//! ```text
//! t = B r         t_abs = |B| |r|
//! y = alpha A t + beta C0 r
//! s = |alpha| |A| t_abs + |beta| |C0| |r|
//! z = C r
//! ```
//!
//! Row i is wrong where `|y[i] - z[i]|` is more than the rounding of the kernel and of this check
//! can make of it. With `gamma(x, u) = x u / (1 - x u)` that is no more than
//!
//! ```text
//! 3/2 (gamma(k + 3, u) + gamma(4 n + 2 k + 32, 2^-53)) s[i]
//! ```
//!
//! where `u` is the unit roundoff of the dtype: the bound of the kernel's error, element by
//! element, weighted by |r| and summed along the row; and what sums of f64 in any order add to it.
//! The factor pays for the rounding of `s` and for products of these terms, as long as neither
//! gamma is more than an eighth; where one is, nothing is said. So a product within the documented
//! bound is never called wrong.
//!
//! An element of `r` is one of 2^17 numbers, of magnitude 1 to 2. An error that is more than
//! `tolerance / |r[j]|` in one element of a row only is always found. If there are others in the
//! row, they would have to hit one of few values among 2^17 to hide it.
//!
//! Underflow is covered by adding to the magnitudes what is as small as the least normal number,
//! for each term. Rows are passed over where sums may have overflowed, or an operand is not finite:
//! classical arithmetic gives infinities and NaN there, in an order that no check could repeat.
#![allow(unsafe_code)]

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::kernel::{Isa, isa};
use super::{Dtype, Element, Shape};
use crate::limits::{CHECKED_FLOPS_PER_ELEMENT_MIN_F32, CHECKED_FLOPS_PER_ELEMENT_MIN_F64};

/// One check: shown all matrices, each in pieces from its first row to its last, B before A.
#[derive(Debug)]
pub struct Residual {
    shape: Shape,
    alpha: f64,
    beta: f64,
    isa: Isa,
    r: Vec<f64>,
    r_abs: Vec<f64>,
    t: Vec<f64>,
    t_abs: Vec<f64>,
    y: Vec<f64>,
    s: Vec<f64>,
    z: Vec<f64>,
}

/// A row of the result that can't be what the operands make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongRow(pub usize);

impl Residual {
    /// Whether a check costs so little beside the product that each has one.
    pub fn is_cheap<T: Element>(shape: Shape) -> bool {
        let Shape { m, n, k } = shape;
        let elements = [(m, k), (k, n), (m, n)].map(|(rows, columns)| rows as u64 * columns as u64);
        let flops_per_element = match T::DTYPE {
            Dtype::F64 => CHECKED_FLOPS_PER_ELEMENT_MIN_F64,
            Dtype::F32 => CHECKED_FLOPS_PER_ELEMENT_MIN_F32,
        };
        shape.flops() / flops_per_element >= elements.iter().sum::<u64>().max(1)
    }

    /// Whether anything can be said about such a product.
    pub fn is_possible<T: Element>(shape: Shape, alpha: T) -> bool {
        let Shape { m, n, k } = shape;
        let can_bound = bound::<T>(n, k).is_some();
        // A pass over a matrix scales the vector first, which can overflow where the product would
        // not.
        let is_scaled_last = (m > 1 && n > 1) || alpha.to_f64().abs() <= 1.0;
        can_bound && is_scaled_last
    }

    /// Sets up the check of a product; `seed` must not be known to whoever made the operands. Fails
    /// where there is no memory for [`Residual::bytes`].
    pub fn new<T: Element>(
        shape: Shape,
        (alpha, beta): (T, T),
        seed: [u8; 32],
    ) -> Result<Self, TryReserveError> {
        let Shape { m, n, k } = shape;
        let (r, r_abs) = vector(n, seed)?;
        let (alpha, beta) = (alpha.to_f64(), beta.to_f64());
        let (t, t_abs) = (zeros(k)?, zeros(k)?);
        let (y, s, z) = (zeros(m)?, zeros(m)?, zeros(m)?);
        Ok(Self { shape, alpha, beta, isa: isa(), r, r_abs, t, t_abs, y, s, z })
    }

    /// Bytes of the vectors of a check.
    pub fn bytes(shape: Shape) -> usize {
        let Shape { m, n, k } = shape;
        let elements = m.saturating_mul(3).saturating_add(n.max(k).saturating_mul(4));
        elements.saturating_mul(size_of::<f64>())
    }

    /// A piece of C as it came, from its `first` element on; only where `beta` is not zero.
    pub fn see_addend<T: Element>(&mut self, first: usize, elements: &[T]) {
        let beta = self.beta;
        let (y, s) = (&mut self.y, &mut self.s);
        segments(first, elements, self.r.len(), |row, columns, segment| {
            let (r, r_abs) = (&self.r[columns.clone()], &self.r_abs[columns]);
            let (sum, sum_abs) = dots(self.isa, segment, r, r_abs);
            y[row] += beta * sum;
            s[row] += beta.abs() * sum_abs;
        });
    }

    /// A piece of B.
    pub fn see_b<T: Element>(&mut self, first: usize, elements: &[T]) {
        // What underflows here is less than this, in the kernel where it scales B first.
        let scaled = if self.alpha.abs() < 1.0 { self.alpha.abs() } else { 1.0 };
        let least = if scaled == 0.0 { 0.0 } else { T::MIN_POSITIVE / scaled };
        let (t, t_abs) = (&mut self.t, &mut self.t_abs);
        segments(first, elements, self.r.len(), |row, columns, segment| {
            let (r, r_abs) = (&self.r[columns.clone()], &self.r_abs[columns]);
            let (sum, sum_abs) = dots(self.isa, segment, r, r_abs);
            t[row] += sum;
            t_abs[row] += sum_abs + least * segment.len() as f64;
        });
    }

    /// A piece of A, when all of B has been seen.
    pub fn see_a<T: Element>(&mut self, first: usize, elements: &[T]) {
        let alpha = self.alpha;
        let (y, s) = (&mut self.y, &mut self.s);
        let is_vector = self.shape.m == 1;
        segments(first, elements, self.t.len(), |row, columns, segment| {
            let (t, t_abs) = (&self.t[columns.clone()], &self.t_abs[columns]);
            let (sum, sum_abs) = dots(self.isa, segment, t, t_abs);
            y[row] += alpha * sum;
            s[row] += alpha.abs() * sum_abs;
            if is_vector {
                // Where the kernel scales A first, that is what underflows.
                s[row] += T::MIN_POSITIVE * t_abs.iter().sum::<f64>();
            }
        });
    }

    /// A piece of the result, when all of the operands have been seen.
    pub fn see_result<T: Element>(&mut self, first: usize, elements: &[T]) {
        let z = &mut self.z;
        segments(first, elements, self.r.len(), |row, columns, segment| {
            let r = &self.r[columns];
            z[row] += dots(self.isa, segment, r, r).0;
        });
    }

    /// Makes ready for another result of the same operands.
    pub fn forget_result(&mut self) {
        self.z.fill(0.0);
    }

    /// Whether the result can be the product, when all of it has been seen.
    ///
    /// # Errors
    ///
    /// The first row that can't.
    pub fn judge<T: Element>(&self) -> Result<(), WrongRow> {
        let Shape { n, k, .. } = self.shape;
        let (alpha, beta) = (self.alpha.abs(), self.beta.abs());
        let Some(bound) = bound::<T>(n, k) else { return Ok(()) };
        let terms = (k.max(1) as f64) * (n as f64);
        let least = 4.0 * terms * (1.0 + alpha + beta) * T::MIN_POSITIVE;
        let largest = T::MAX / 4.0 * alpha.min(1.0);
        for (row, ((y, z), s)) in self.y.iter().zip(&self.z).zip(&self.s).enumerate() {
            let is_finite = s + least <= largest;
            let is_right = (y - z).abs() <= bound * (s + least);
            if is_finite && !is_right {
                return Err(WrongRow(row));
            }
        }
        Ok(())
    }
}

/// A vector that nobody can foresee who does not know the seed, and its magnitudes.
pub(crate) fn vector(
    count: usize,
    seed: [u8; 32],
) -> Result<(Vec<f64>, Vec<f64>), TryReserveError> {
    let mut random = ChaCha12Rng::from_seed(seed);
    let mut r = reserved(count)?;
    r.extend((0..count).map(|_| {
        let bits = random.next_u32();
        let magnitude = 1.0 + f64::from(bits & 0xffff) / 65536.0;
        if bits >> 31 == 0 { magnitude } else { -magnitude }
    }));
    let mut r_abs = reserved(count)?;
    r_abs.extend(r.iter().map(|element| element.abs()));
    Ok((r, r_abs))
}

/// Adds `factor M v` to `y`, and `|factor| |M| w` to `s`, for some rows of a matrix M; where it is
/// turned, its transpose, of which those are columns.
pub(crate) fn contract<T: Element>(
    rows: &[T],
    (v, w): (&[f64], &[f64]),
    factor: f64,
    (y, s): (&mut [f64], &mut [f64]),
    is_turned: bool,
) {
    let isa = isa();
    let columns = if is_turned { y.len() } else { v.len() };
    for (row, elements) in rows.chunks_exact(columns.max(1)).enumerate() {
        if is_turned {
            let factors = (factor * v[row], factor.abs() * w[row]);
            add_scaled(isa, elements, factors, (&mut *y, &mut *s));
        } else {
            let (sum, sum_abs) = dots(isa, elements, v, w);
            y[row] += factor * sum;
            s[row] += factor.abs() * sum_abs;
        }
    }
}

/// The largest magnitude; infinite where an element is not finite.
pub(crate) fn largest<T: Element>(elements: &[T]) -> f64 {
    elements.iter().fold(0.0, |largest, element| {
        let magnitude = element.to_f64().abs();
        // What is compared with NaN is false.
        let is_less = magnitude <= largest;
        if is_less {
            largest
        } else if magnitude <= T::MAX {
            magnitude
        } else {
            f64::INFINITY
        }
    })
}

/// The most that rounding can make of a row, as a factor of its magnitude; `None` where terms are
/// so many that there is no such bound.
pub(crate) fn bound<T: Element>(n: usize, k: usize) -> Option<f64> {
    let gamma = |roundings: f64, unit: f64| {
        let x = roundings * unit;
        let gamma = x / (1.0 - x);
        (x < 1.0 && gamma <= 0.125).then_some(gamma)
    };
    let (n, k) = (n as f64, k as f64);
    let of_kernel = gamma(k + 3.0, T::UNIT_ROUNDOFF)?;
    let of_check = gamma(4.0 * n + 2.0 * k + 32.0, f64::UNIT_ROUNDOFF)?;
    Some(1.5 * (of_kernel + of_check))
}

/// Calls `see` with each part of a row in a piece of a matrix: the row, its columns, the elements.
fn segments<T>(
    first: usize,
    elements: &[T],
    columns: usize,
    mut see: impl FnMut(usize, core::ops::Range<usize>, &[T]),
) {
    let mut at = first;
    let mut rest = elements;
    while !rest.is_empty() {
        let (row, column) = (at / columns, at % columns);
        let (segment, others) = rest.split_at(rest.len().min(columns - column));
        see(row, column..column + segment.len(), segment);
        at += segment.len();
        rest = others;
    }
}

/// Adds `f x` to `y`, and `g |x|` to `s`, in f64.
fn add_scaled<T: Element>(isa: Isa, x: &[T], factors: (f64, f64), sums: (&mut [f64], &mut [f64])) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa()` asks the CPU.
        Isa::Avx512 => unsafe { add_scaled_avx512(x, factors, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { add_scaled_avx2(x, factors, sums) },
        _ => add_scaled_of(x, factors, sums),
    }
}

/// # Safety
///
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn add_scaled_avx512<T: Element>(
    x: &[T],
    factors: (f64, f64),
    sums: (&mut [f64], &mut [f64]),
) {
    add_scaled_of(x, factors, sums);
}

/// # Safety
///
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn add_scaled_avx2<T: Element>(
    x: &[T],
    factors: (f64, f64),
    sums: (&mut [f64], &mut [f64]),
) {
    add_scaled_of(x, factors, sums);
}

#[inline(always)]
fn add_scaled_of<T: Element>(x: &[T], (f, g): (f64, f64), (y, s): (&mut [f64], &mut [f64])) {
    for ((x, y), s) in x.iter().zip(y).zip(s) {
        let element = x.to_f64();
        *y += f * element;
        *s += g * element.abs();
    }
}

/// `sum of x v` and `sum of |x| w`, in f64.
fn dots<T: Element>(isa: Isa, x: &[T], v: &[f64], w: &[f64]) -> (f64, f64) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa()` asks the CPU.
        Isa::Avx512 => unsafe { dots_avx512(x, v, w) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { dots_avx2(x, v, w) },
        _ => dots_of(x, v, w),
    }
}

/// # Safety
///
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn dots_avx512<T: Element>(x: &[T], v: &[f64], w: &[f64]) -> (f64, f64) {
    dots_of(x, v, w)
}

/// # Safety
///
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn dots_avx2<T: Element>(x: &[T], v: &[f64], w: &[f64]) -> (f64, f64) {
    dots_of(x, v, w)
}

/// The same for every width of vectors: sums side by side, which the compiler keeps in some.
#[inline(always)]
fn dots_of<T: Element>(x: &[T], v: &[f64], w: &[f64]) -> (f64, f64) {
    const SUMS: usize = 16;
    assert!(x.len() == v.len() && x.len() == w.len(), "vectors of one length");
    let (mut sums, mut sums_abs) = ([0.0; SUMS], [0.0; SUMS]);
    let (x, x_rest) = x.as_chunks::<SUMS>();
    let (v, v_rest) = v.as_chunks::<SUMS>();
    let (w, w_rest) = w.as_chunks::<SUMS>();
    for ((x, v), w) in x.iter().zip(v).zip(w) {
        for lane in 0..SUMS {
            let element = x[lane].to_f64();
            sums[lane] += element * v[lane];
            sums_abs[lane] += element.abs() * w[lane];
        }
    }
    for (lane, element) in x_rest.iter().enumerate() {
        let element = element.to_f64();
        sums[lane] += element * v_rest[lane];
        sums_abs[lane] += element.abs() * w_rest[lane];
    }
    (sums.iter().sum(), sums_abs.iter().sum())
}

pub(crate) fn zeros(count: usize) -> Result<Vec<f64>, TryReserveError> {
    let mut elements = reserved(count)?;
    elements.resize(count, 0.0);
    Ok(elements)
}

fn reserved(count: usize) -> Result<Vec<f64>, TryReserveError> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count)?;
    Ok(elements)
}
