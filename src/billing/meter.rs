//! The meter: floating-point operations and bytes of one job.

use crate::gemm::{Dtype, Shape};

/// What a job used, and so what it is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub dtype: Dtype,
    pub shape: Shape,
    /// Floating-point operations; see [`flops`].
    pub flops: u64,
    /// Content bytes of the request, framing and fields left out.
    pub bytes_in: u64,
    /// Bytes of the encoded result, the bill around it left out.
    pub bytes_out: u64,
    /// The result was there already, and no operation executed.
    pub cached: bool,
}

/// The floating-point operations of `C <- alpha A B + beta C` for an m x k and a k x n operand:
///
/// * `2 m n k` for the product, one multiplication and one addition per term;
/// * `m n` more where `alpha` is given and is not 1, to scale the product;
/// * `2 m n` more where `c` is given and `beta` is not 0, to scale and add it.
///
/// The count depends on the request alone, never on the kernel that served it. `None` where it
/// does not fit in 64 bits.
pub fn flops(shape: Shape, scales_product: bool, adds_c: bool) -> Option<u64> {
    let Shape { m, n, k } = shape;
    let outputs = (m as u64).checked_mul(n as u64)?;
    let product = outputs.checked_mul(k as u64)?.checked_mul(2)?;
    let scaling = if scales_product { outputs } else { 0 };
    let adding = if adds_c { outputs.checked_mul(2)? } else { 0 };
    product.checked_add(scaling)?.checked_add(adding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_term_and_per_option() {
        for (m, n, k, scales, adds, expected) in [
            (2, 2, 2, false, false, Some(16)),
            (2, 3, 4, false, false, Some(48)),
            (2, 3, 4, true, false, Some(54)),
            (2, 3, 4, false, true, Some(60)),
            (2, 3, 4, true, true, Some(66)),
            (0, 3, 4, true, true, Some(0)),
            (3, 3, 0, false, false, Some(0)),
            (100_000, 100_000, 100_000, false, false, Some(2_000_000_000_000_000)),
            (1 << 24, 1 << 24, 1 << 24, false, false, None),
        ] {
            assert_eq!(flops(Shape { m, n, k }, scales, adds), expected);
        }
    }
}
