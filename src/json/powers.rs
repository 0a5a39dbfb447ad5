//! Powers of five as fractions of 128 bits, computed when the program is compiled.

/// Below this exponent of ten even 2^64 - 1 times it rounds to zero, in `f64`.
pub const EXPONENT_MIN: i64 = -342;
/// Above this exponent of ten even one times it overflows `f64`.
pub const EXPONENT_MAX: i64 = 308;

const COUNT: usize = (EXPONENT_MAX - EXPONENT_MIN) as usize + 1;
const LIMBS: usize = 16;

/// The 128 leading bits of 5^q for every q from [`EXPONENT_MIN`] on, the upper half first. They are
/// truncated, but those of 1 / 5^27 to 1 / 5 are rounded up: their products with 64 bits are then
/// exact where a decimal has an exact half between two floating-point numbers.
pub static POWERS_OF_FIVE: [(u64, u64); COUNT] = powers_of_five();

const fn powers_of_five() -> [(u64, u64); COUNT] {
    let zero = (-EXPONENT_MIN) as usize;
    let mut powers = [(0, 0); COUNT];
    let mut big = [0; LIMBS];
    big[0] = 1;
    let mut power = 0;
    while power <= EXPONENT_MAX as usize {
        powers[zero + power] = leading_bits(&big);
        big = times_five(big);
        power += 1;
    }
    // 2^1023 / 5^342 has 228 bits left, of which 128 are wanted. Dividing again and again truncates
    // to the same as dividing once.
    let mut big = [0; LIMBS];
    big[LIMBS - 1] = 1 << 63;
    let mut power = 1;
    while power <= zero {
        big = by_five(big);
        let (upper, lower) = leading_bits(&big);
        powers[zero - power] = if power > 27 {
            (upper, lower)
        } else {
            let (lower, carry) = lower.overflowing_add(1);
            (upper + carry as u64, lower)
        };
        power += 1;
    }
    powers
}

const fn times_five(mut big: [u64; LIMBS]) -> [u64; LIMBS] {
    let mut carry = 0;
    let mut limb = 0;
    while limb < LIMBS {
        let product = big[limb] as u128 * 5 + carry;
        big[limb] = product as u64;
        carry = product >> 64;
        limb += 1;
    }
    assert!(carry == 0, "the limbs hold 5^309");
    big
}

const fn by_five(mut big: [u64; LIMBS]) -> [u64; LIMBS] {
    let mut rest = 0;
    let mut limb = LIMBS;
    while limb > 0 {
        limb -= 1;
        let dividend = (rest << 64) | big[limb] as u128;
        big[limb] = (dividend / 5) as u64;
        rest = dividend % 5;
    }
    big
}

/// The 128 bits from the highest one that is set.
const fn leading_bits(big: &[u64; LIMBS]) -> (u64, u64) {
    let mut top = LIMBS - 1;
    while big[top] == 0 {
        top -= 1;
    }
    let next = if top >= 1 { big[top - 1] } else { 0 };
    let last = if top >= 2 { big[top - 2] } else { 0 };
    let shift = big[top].leading_zeros();
    if shift == 0 {
        return (big[top], next);
    }
    let upper = (big[top] << shift) | (next >> (64 - shift));
    (upper, (next << shift) | (last >> (64 - shift)))
}
