//! Many small products in one call.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use ndarray::{ArrayView3, ArrayViewMut3, Axis, s};

use super::crew::{Crew, Exclusive};
use super::plan::NEAR_BATCH_BYTES;
use super::small::{Small, is_small};
use super::{Alone, Element, Kernel, Scale, Shape, Workspace};

/// Multiplies pairs of matrices, `c[i] <- alpha a[i] b[i] + beta c[i]`: as [`super::multiply`], for
/// many small products. `a` is count x m x k, `b` count x k x n and `c` count x m x n.
///
/// # Panics
///
/// Where the shapes do not go together.
pub fn multiply_batch<T: Element>(
    alpha: T,
    a: &ArrayView3<T>,
    b: &ArrayView3<T>,
    beta: T,
    c: &mut ArrayViewMut3<T>,
    crew: &dyn Crew,
) -> Result<(), TryReserveError> {
    let (count, m, k) = a.dim();
    let n = b.len_of(Axis(2));
    assert_eq!(b.dim(), (count, k, n), "shape of B");
    assert_eq!(c.dim(), (count, m, n), "shape of C");
    let flops = Shape { m, n, k }.flops().saturating_mul(count as u64);
    let parts = crew.threads(flops).min(count.max(1));
    let elements = a.len().saturating_add(b.len()).saturating_add(c.len());
    let is_far = elements.saturating_mul(size_of::<T>()) > NEAR_BATCH_BYTES;
    let scale = Scale { alpha, beta };
    if parts == 1 {
        return multiply_some(scale, a, b, c, is_far);
    }
    let mut shares = Vec::new();
    let mut rest = c.view_mut();
    for part in 0..parts {
        let (first, end) = (count * part / parts, count * (part + 1) / parts);
        let (mine, others) = rest.split_at(Axis(0), end - first);
        rest = others;
        let (a, b) = (a.slice(s![first..end, .., ..]), b.slice(s![first..end, .., ..]));
        shares.push(Exclusive::new((a, b, mine, Ok(()))));
    }
    crew.run(parts, &|index| {
        shares[index].with(|(a, b, c, result)| *result = multiply_some(scale, a, b, c, is_far));
    });
    shares.into_iter().try_for_each(|share| share.into_inner().3)
}

/// `is_far`: the matrices come from beyond the caches.
fn multiply_some<T: Element>(
    scale: Scale<T>,
    a: &ArrayView3<T>,
    b: &ArrayView3<T>,
    c: &mut ArrayViewMut3<T>,
    is_far: bool,
) -> Result<(), TryReserveError> {
    if let (Kernel::Own(isa), true) = (Kernel::of_this_machine(), a.len_of(Axis(0)) > 0) {
        let (first_a, first_b) = (a.index_axis(Axis(0), 0), b.index_axis(Axis(0), 0));
        let strides = [a.strides()[0], b.strides()[0], c.strides()[0]];
        let mut first_c = c.index_axis_mut(Axis(0), 0);
        let kernel = T::microkernel(isa);
        if is_small(kernel, &first_a, &first_b, &first_c) {
            let first = Small::new(&first_a, &first_b, &mut first_c);
            let mut tile = first.tile(scale);
            if is_far {
                tile.fetch_c();
            }
            for index in 0..a.len_of(Axis(0)) {
                if is_far {
                    first.moved(index + 1, strides).fetch();
                }
                #[allow(unsafe_code)]
                // SAFETY: all products of the batch have the shape and the strides of the first.
                unsafe {
                    first.moved(index, strides).multiply(kernel, &mut tile);
                }
            }
            return Ok(());
        }
    }
    let mut workspace = Workspace::default();
    for ((a, b), mut c) in a.outer_iter().zip(b.outer_iter()).zip(c.outer_iter_mut()) {
        super::multiply(scale.alpha, &a, &b, scale.beta, &mut c, &Alone, &mut workspace)?;
    }
    Ok(())
}
