//! Sums of rows, by vectors as wide as the CPU's.
//!
//! No product and sum is rounded as one: the bits are the same by any of them. Every row is an
//! argument of its own, by which the compiler knows that none overlaps another.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use core::arch::x86_64::{_mm512_loadu_si512, _mm512_stream_si512};

use super::super::{Element, Isa};
use super::passes::Sum;

/// Four rows to read.
type Read<'a, T> = (&'a [T], &'a [T], &'a [T], &'a [T]);
/// Four rows to write.
type Write<'a, T> = (&'a mut [T], &'a mut [T], &'a mut [T], &'a mut [T]);

/// Sums one row of a pass.
///
/// # Panics
///
/// Where rows differ in length, or this CPU does not have the instruction set.
pub fn sum<T: Element>(isa: Isa, sum: Sum<T>, (x0, x1, x2, x3): Read<T>, y: Write<T>) {
    assert!(isa.is_here(), "this CPU has no {}", isa.name());
    let streams = streams(isa, &y);
    let (y0, y1, y2, y3) = y;
    match sum {
        Sum::OfA if streams => stream::<T, true>((x0, x1, x2, x3), (y0, y1, y2, y3)),
        Sum::OfB if streams => stream::<T, false>((x0, x1, x2, x3), (y0, y1, y2, y3)),
        Sum::OfA => of_a(isa, x0, x1, x2, x3, y0, y1, y2, y3),
        Sum::OfB => of_b(isa, x0, x1, x2, x3, y0, y1, y2, y3),
        Sum::InC => in_c(isa, x0, y0, y1, y2, y3),
        Sum::ToC(beta) if beta == T::from_f64(1.0) => to_c(isa, x0, x1, x2, x3, y0, y1, y2, y3),
        Sum::ToC(beta) => to_scaled_c(isa, beta, x0, x1, x2, x3, y0, y1, y2, y3),
    }
}

/// Whether rows of sums are written past the caches: they are read again only once they are all
/// there, and so have not to be read before they are written.
fn streams<T>(isa: Isa, (y0, y1, y2, y3): &Write<T>) -> bool {
    let starts = [y0.as_ptr(), y1.as_ptr(), y2.as_ptr(), y3.as_ptr()];
    isa == Isa::Avx512 && starts.iter().all(|start| start.addr().is_multiple_of(STREAMED_BYTES))
}

/// What is written past the caches at once: a vector of AVX-512, and a cache line.
pub const STREAMED_BYTES: usize = 64;

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
fn stream<T: Element, const OF_A: bool>(_: Read<T>, _: Write<T>) {
    unreachable!("there is no AVX-512 here");
}

/// The sums of A, or of B, past the caches. Their rows start at whole cache lines, and the CPU has
/// AVX-512.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
fn stream<T: Element, const OF_A: bool>(x: Read<T>, y: Write<T>) {
    #[target_feature(enable = "avx512f")]
    fn by_vectors<T: Element, const OF_A: bool, const LANES: usize>(x: Read<T>, y: Write<T>) {
        let sums_of = |x| if OF_A { sums_of_a::<T>(x) } else { sums_of_b::<T>(x) };
        let ((x0, r0), (x1, r1)) = (x.0.as_chunks::<LANES>(), x.1.as_chunks::<LANES>());
        let ((x2, r2), (x3, r3)) = (x.2.as_chunks::<LANES>(), x.3.as_chunks::<LANES>());
        let ((y0, s0), (y1, s1)) = (y.0.as_chunks_mut::<LANES>(), y.1.as_chunks_mut::<LANES>());
        let ((y2, s2), (y3, s3)) = (y.2.as_chunks_mut::<LANES>(), y.3.as_chunks_mut::<LANES>());
        for i in 0..x0.len() {
            let mut sums = [[T::default(); LANES]; 4];
            for lane in 0..LANES {
                let sum = sums_of((x0[i][lane], x1[i][lane], x2[i][lane], x3[i][lane]));
                (sums[0][lane], sums[1][lane], sums[2][lane], sums[3][lane]) = sum;
            }
            let to = [&mut y0[i], &mut y1[i], &mut y2[i], &mut y3[i]];
            for (to, sums) in to.into_iter().zip(&sums) {
                // SAFETY: so many elements are a vector.
                let vector = unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) };
                // SAFETY: as above, and where the row starts at a whole cache line, so does each
                // vector of it.
                unsafe { _mm512_stream_si512(to.as_mut_ptr().cast(), vector) };
            }
        }
        for i in 0..r0.len() {
            (s0[i], s1[i], s2[i], s3[i]) = sums_of((r0[i], r1[i], r2[i], r3[i]));
        }
    }
    match size_of::<T>() {
        // SAFETY: the CPU has the instruction set, as `sum` has asserted.
        8 => unsafe { by_vectors::<T, OF_A, 8>(x, y) },
        // SAFETY: as above.
        4 => unsafe { by_vectors::<T, OF_A, 16>(x, y) },
        _ => unreachable!("elements are f64 or f32"),
    }
}

/// S1 to S4.
#[inline(always)]
fn sums_of_a<T: Element>((x11, x12, x21, x22): (T, T, T, T)) -> (T, T, T, T) {
    let s1 = x21 + x22;
    let s2 = s1 - x11;
    (s1, s2, x11 - x21, x12 - s2)
}

/// T1 to T3, and -T4.
#[inline(always)]
fn sums_of_b<T: Element>((x11, x12, x21, x22): (T, T, T, T)) -> (T, T, T, T) {
    let t1 = x12 - x11;
    let t2 = x22 - t1;
    (t1, t2, x22 - x12, x21 - t2)
}

/// Defines a function of rows of one length, for every instruction set.
macro_rules! by_rows {
    (
        $(#[$doc:meta])*
        fn $name:ident($($factor:ident)?; $($x:ident)+; $($y:ident)+; $j:ident) $body:block
    ) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        fn $name<T: Element>(isa: Isa, $($factor: T,)? $($x: &[T],)+ $($y: &mut [T],)+) {
            #[inline(always)]
            fn inline<T: Element>($($factor: T,)? $($x: &[T],)+ $($y: &mut [T],)+) {
                let columns = [$($x.len(),)+ $($y.len(),)+];
                assert!(columns.iter().all(|length| *length == columns[0]), "rows of one length");
                for $j in 0..columns[0] $body
            }
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            {
                #[target_feature(enable = "avx512f")]
                fn by_avx512<T: Element>($($factor: T,)? $($x: &[T],)+ $($y: &mut [T],)+) {
                    inline($($factor,)? $($x,)+ $($y,)+);
                }
                #[target_feature(enable = "avx2")]
                fn by_avx2<T: Element>($($factor: T,)? $($x: &[T],)+ $($y: &mut [T],)+) {
                    inline($($factor,)? $($x,)+ $($y,)+);
                }
                match isa {
                    // SAFETY: the CPU has the instruction set, as `sum` has asserted.
                    Isa::Avx512 => return unsafe { by_avx512($($factor,)? $($x,)+ $($y,)+) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { by_avx2($($factor,)? $($x,)+ $($y,)+) },
                    Isa::Portable => {}
                }
            }
            #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
            let _ = isa;
            inline($($factor,)? $($x,)+ $($y,)+);
        }
    };
}

by_rows! {
    /// The sums of A.
    fn of_a(; x0 x1 x2 x3; y0 y1 y2 y3; j) {
        (y0[j], y1[j], y2[j], y3[j]) = sums_of_a((x0[j], x1[j], x2[j], x3[j]));
    }
}

by_rows! {
    /// The sums of B.
    fn of_b(; x0 x1 x2 x3; y0 y1 y2 y3; j) {
        (y0[j], y1[j], y2[j], y3[j]) = sums_of_b((x0[j], x1[j], x2[j], x3[j]));
    }
}

by_rows! {
    /// U4, U3 and U7 of P6 and of P1, P7 and P5, which are in C.
    fn in_c(; p6; c11 c12 c21 c22; j) {
        let (u2, p5) = (c11[j] + p6[j], c22[j]);
        let u3 = u2 + c21[j];
        c12[j] = u2 + p5;
        c21[j] = u3;
        c22[j] = u3 + p5;
    }
}

by_rows! {
    /// P1, U4, U3 and U7, added to C.
    fn to_c(; p1 p6 p7 p5; c11 c12 c21 c22; j) {
        let u2 = p1[j] + p6[j];
        let u3 = u2 + p7[j];
        c11[j] = c11[j] + p1[j];
        c12[j] = c12[j] + (u2 + p5[j]);
        c21[j] = c21[j] + u3;
        c22[j] = c22[j] + (u3 + p5[j]);
    }
}

by_rows! {
    /// The same, where C is multiplied by beta first.
    fn to_scaled_c(beta; p1 p6 p7 p5; c11 c12 c21 c22; j) {
        let u2 = p1[j] + p6[j];
        let u3 = u2 + p7[j];
        c11[j] = beta * c11[j] + p1[j];
        c12[j] = beta * c12[j] + (u2 + p5[j]);
        c21[j] = beta * c21[j] + u3;
        c22[j] = beta * c22[j] + (u3 + p5[j]);
    }
}
