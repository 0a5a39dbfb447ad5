//! Elements from bytes.

use crate::formats::{ArrayHeader, ByteOrder, Scalar};
use crate::gemm::Element;

/// Reads whole elements, each rounded at most once to the nearest of the dtype, to even where it is
/// halfway; one beyond the range of the dtype becomes infinite. Where the bytes are the dtype's
/// own, this is a copy.
pub fn convert<T: Element, E: Extend<T>>(header: &ArrayHeader, bytes: &[u8], out: &mut E) {
    let is_big = header.order == ByteOrder::Big;
    match header.scalar {
        Scalar::F64 => each(bytes, is_big, out, |it| T::from_f64(f64::from_le_bytes(it))),
        Scalar::F32 => each(bytes, is_big, out, |it| T::from_f64(f32::from_le_bytes(it).into())),
        Scalar::F16 => each(bytes, is_big, out, |it| T::from_f64(half(u16::from_le_bytes(it)))),
        Scalar::Bf16 => each(bytes, is_big, out, |it| {
            T::from_f64(f32::from_bits(u32::from(u16::from_le_bytes(it)) << 16).into())
        }),
        Scalar::I64 => each(bytes, is_big, out, |it| T::from_i64(i64::from_le_bytes(it))),
        Scalar::I32 => each(bytes, is_big, out, |it| T::from_i64(i32::from_le_bytes(it).into())),
        Scalar::I16 => each(bytes, is_big, out, |it| T::from_i64(i16::from_le_bytes(it).into())),
        Scalar::I8 => each(bytes, is_big, out, |it| T::from_i64(i8::from_le_bytes(it).into())),
        Scalar::U64 => each(bytes, is_big, out, |it| T::from_u64(u64::from_le_bytes(it))),
        Scalar::U32 => each(bytes, is_big, out, |it| T::from_u64(u32::from_le_bytes(it).into())),
        Scalar::U16 => each(bytes, is_big, out, |it| T::from_u64(u16::from_le_bytes(it).into())),
        Scalar::U8 => each(bytes, is_big, out, |[it]: [u8; 1]| T::from(it)),
        Scalar::Bool => each(bytes, is_big, out, |[it]: [u8; 1]| T::from(u8::from(it != 0))),
    }
}

fn each<T, const N: usize>(
    bytes: &[u8],
    is_big: bool,
    out: &mut impl Extend<T>,
    read: impl Fn([u8; N]) -> T,
) {
    let (items, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty(), "only whole elements are read");
    if is_big {
        out.extend(items.iter().map(|item| {
            let mut item = *item;
            item.reverse();
            read(item)
        }));
    } else {
        out.extend(items.iter().map(|item| read(*item)));
    }
}

/// The value of a binary16: a sign, five bits of exponent with a bias of 15, ten of fraction.
fn half(bits: u16) -> f64 {
    let sign = u64::from(bits >> 15) << 63;
    let (exponent, fraction) = (u64::from(bits >> 10) & 31, u64::from(bits & 0x3ff));
    let magnitude = match exponent {
        // Subnormal: so many times 2^-24.
        0 => (fraction as f64 * f64::from_bits((1023 - 24) << 52)).to_bits(),
        31 => (2047 << 52) | (fraction << 42),
        _ => ((exponent + 1023 - 15) << 52) | (fraction << 42),
    };
    f64::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::formats::Which;

    fn read<T: Element>(scalar: Scalar, order: ByteOrder, bytes: &[u8]) -> Vec<T> {
        let header = ArrayHeader::new(Which::A, scalar, &[1]).unwrap().in_order(order);
        let mut out = Vec::new();
        convert::<T, _>(&header, bytes, &mut out);
        out
    }

    #[test]
    fn halves_have_the_values_of_the_standard() {
        #[rustfmt::skip]
        let cases: &[(u16, f64)] = &[
            (0x0000, 0.0), (0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0400, 6.103515625e-5),
            (0x0001, 5.960464477539063e-8), (0x03ff, 6.097555160522461e-5), (0x3555, 0.333251953125),
            (0x7c00, f64::INFINITY), (0xfc00, f64::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(read::<f64>(Scalar::F16, ByteOrder::Little, &bits.to_le_bytes()), [*value]);
            let narrow = read::<f32>(Scalar::F16, ByteOrder::Big, &bits.to_be_bytes());
            assert_eq!(narrow, [*value as f32]);
        }
        assert!(half(0x8000).is_sign_negative() && half(0x7e00).is_nan());
    }

    #[test]
    fn integers_are_rounded_once() {
        let large = 0x7fff_ffbf_ffff_ffff_i64;
        // By way of f64, which rounds up to a tie, f32 would round up.
        assert_eq!(
            read::<f32>(Scalar::I64, ByteOrder::Little, &large.to_le_bytes()),
            [9.223_371_5e18]
        );
        assert_eq!(read::<f64>(Scalar::U64, ByteOrder::Big, &[255; 8]), [18446744073709551616.0]);
        assert_eq!(read::<f64>(Scalar::I8, ByteOrder::Big, &[255]), [-1.0]);
        assert_eq!(read::<f64>(Scalar::Bool, ByteOrder::Little, &[2]), [1.0]);
        assert_eq!(read::<f64>(Scalar::Bf16, ByteOrder::Little, &[0x80, 0xbf]), [-1.0]);
        assert_eq!(
            read::<f32>(Scalar::F64, ByteOrder::Little, &1e39_f64.to_le_bytes()),
            [f32::INFINITY]
        );
    }
}
