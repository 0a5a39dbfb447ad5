//! Decimals rounded to the nearest floating-point number, ties to even.
//!
//! Three ways, each where it is exact: one multiplication of floating-point numbers (Clinger, "How
//! to read floating point numbers accurately", 1990); a product with a power of five of 128 bits
//! (Lemire, "Number parsing at a gigabyte per second", 2021); and the standard library for decimals
//! of more than 19 digits, and where the 128 bits don't decide.

use core::str::FromStr;

use super::powers::{EXPONENT_MAX, EXPONENT_MIN, POWERS_OF_FIVE};

/// A floating-point type that numbers are read as.
pub trait Number: Copy + FromStr {
    /// Bits of the significand that are stored.
    const MANTISSA_BITS: u32;
    /// The exponent of the smallest normal number, less one, as if it were biased by nothing.
    const EXPONENT_OFFSET: i32;
    /// The biased exponent of infinity.
    const EXPONENT_INFINITE: i32;
    /// The exponents of ten for which a decimal can lie exactly between two numbers.
    const EXPONENTS_OF_TIES: (i64, i64);

    /// The number with these bits, which fit.
    fn of_bits(bits: u64) -> Self;

    /// The nearest to a number.
    fn nearest(number: f64) -> Self;

    /// Whether a number is in the middle of two of these, or may be.
    fn is_middle(number: f64) -> bool;

    /// `significand` times ten to the `exponent`, where both are exact and so is one operation.
    fn exact(significand: u64, exponent: i64) -> Option<Self>;

    /// The number, negated if so: without a branch, since no processor foresees signs.
    fn negated_if(self, is_negative: bool) -> Self;

    fn is_finite(self) -> bool;
}

macro_rules! impl_number {
    ($number:ty, $bits:ty, $mantissa_bits:literal, $offset:literal, $infinite:literal,
     $ties:expr, $powers:expr) => {
        impl Number for $number {
            const MANTISSA_BITS: u32 = $mantissa_bits;
            const EXPONENT_OFFSET: i32 = $offset;
            const EXPONENT_INFINITE: i32 = $infinite;
            const EXPONENTS_OF_TIES: (i64, i64) = $ties;

            #[inline(always)]
            fn of_bits(bits: u64) -> Self {
                Self::from_bits(bits as $bits)
            }

            #[inline(always)]
            fn nearest(number: f64) -> Self {
                number as $number
            }

            #[inline(always)]
            fn is_middle(number: f64) -> bool {
                // Of the bits that are dropped, only the first is set.
                number.to_bits().trailing_zeros() + 1 == 52 - $mantissa_bits
            }

            #[inline(always)]
            fn exact(significand: u64, exponent: i64) -> Option<Self> {
                const POWERS: &[$number] = &$powers;
                if significand >> ($mantissa_bits + 1) != 0 {
                    return None;
                }
                let power = *POWERS.get(exponent.unsigned_abs() as usize)?;
                let significand = significand as $number;
                Some(if exponent < 0 { significand / power } else { significand * power })
            }

            #[inline(always)]
            fn negated_if(self, is_negative: bool) -> Self {
                let sign = <$bits>::from(is_negative) << (<$bits>::BITS - 1);
                Self::from_bits(self.to_bits() ^ sign)
            }

            #[inline(always)]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

impl_number!(
    f64,
    u64,
    52,
    -1023,
    0x7ff,
    (-4, 23),
    [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    ]
);
impl_number!(
    f32,
    u32,
    23,
    -127,
    0xff,
    (-17, 10),
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10]
);

/// `significand` times ten to the `exponent`, rounded once; infinite where it overflows, and `None`
/// in the rare case that 128 bits don't decide.
#[inline(always)]
pub fn round<T: Number>(significand: u64, exponent: i64) -> Option<T> {
    match T::exact(significand, exponent) {
        Some(number) => Some(number),
        None => round_product(significand, exponent),
    }
}

/// The product with a power of five, after the paper; its names are in brackets.
#[inline]
fn round_product<T: Number>(significand: u64, exponent: i64) -> Option<T> {
    if significand == 0 || exponent < EXPONENT_MIN {
        return Some(T::of_bits(0));
    }
    let infinite = (T::EXPONENT_INFINITE as u64) << T::MANTISSA_BITS;
    if exponent > EXPONENT_MAX {
        return Some(T::of_bits(infinite));
    }
    let zeros = significand.leading_zeros();
    let (upper, lower) = product(significand << zeros, exponent, T::MANTISSA_BITS + 3);
    if lower == u64::MAX && !(-27..=55).contains(&exponent) {
        return None;
    }
    let carried = (upper >> 63) as u32;
    let shift = carried + 61 - T::MANTISSA_BITS;
    // Two bits more than are stored: the one that is implied, and the one that rounds.
    let mut mantissa = upper >> shift;
    let mut biased = exponent_of_two(exponent) + carried as i32 - zeros as i32 - T::EXPONENT_OFFSET;
    if biased <= 0 {
        return Some(T::of_bits(subnormal(mantissa, biased)));
    }
    let (ties_min, ties_max) = T::EXPONENTS_OF_TIES;
    let is_tie = lower <= 1
        && exponent >= ties_min
        && exponent <= ties_max
        && mantissa & 3 == 1
        && mantissa << shift == upper;
    if is_tie {
        mantissa &= !1;
    }
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if mantissa >> (T::MANTISSA_BITS + 1) != 0 {
        mantissa = 1 << T::MANTISSA_BITS;
        biased += 1;
    }
    if biased >= T::EXPONENT_INFINITE {
        return Some(T::of_bits(infinite));
    }
    let stored = mantissa & !(1 << T::MANTISSA_BITS);
    Some(T::of_bits(stored | (biased as u64) << T::MANTISSA_BITS))
}

/// The bits of a number below the normal ones. None of them is a tie: their exponents of ten are
/// too small for that. Rounding up to the smallest normal number carries into the exponent.
fn subnormal(mantissa: u64, biased: i32) -> u64 {
    let shift = 1 - biased;
    if shift >= 64 {
        return 0;
    }
    let mantissa = mantissa >> shift;
    (mantissa + (mantissa & 1)) >> 1
}

/// The two upper words of [w] times the power of five [q], correct in the `precision` leading bits
/// unless the lower word is all ones.
#[inline(always)]
fn product(significand: u64, exponent: i64, precision: u32) -> (u64, u64) {
    let (power_upper, power_lower) = POWERS_OF_FIVE[(exponent - EXPONENT_MIN) as usize];
    let first = u128::from(significand) * u128::from(power_upper);
    let (upper, lower) = ((first >> 64) as u64, first as u64);
    let mask = u64::MAX >> precision;
    if upper & mask != mask {
        return (upper, lower);
    }
    // The lower word of the power may still carry into the bits that are wanted.
    let second = (u128::from(significand) * u128::from(power_lower)) >> 64;
    let (lower, carry) = lower.overflowing_add(second as u64);
    (upper + u64::from(carry), lower)
}

/// The exponent of two of ten to the `exponent`, plus 63: 217706 / 2^16 is the binary logarithm of
/// ten, exact enough for every exponent in the table.
#[inline(always)]
fn exponent_of_two(exponent: i64) -> i32 {
    ((exponent * 217_706) >> 16) as i32 + 63
}
