//! Whether a kernel multiplies right on the machine at hand: products of small integers, which are
//! exact whatever the order of their sums, against their definition.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::{Alone, Element, Extent, Kernel, Product, Shape};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// An element of a product of this shape is not what it must be.
    Wrong { shape: Shape, row: usize, column: usize },
    /// There is no memory for the matrices.
    Memory(TryReserveError),
}

/// Multiplies around the sizes of a kernel's tiles, and over several blocks: operands as they are
/// and transposed, with factors and without, whole and in parts. Returns the number of products.
///
/// # Panics
///
/// Where this CPU does not have the kernel's instructions.
pub fn check<T: Element>(kernel: Kernel) -> Result<usize, CheckError> {
    let (mr, nr) = match kernel {
        Kernel::Own(isa) => (T::microkernel(isa).mr, T::microkernel(isa).nr),
        // As the portable kernel's.
        Kernel::Matrixmultiply => (4, 8),
    };
    let heights = [1, 2, mr - 1, mr, mr + 1, 2 * mr + 1];
    let widths = [1, 3, nr - 1, nr, nr + 1, 2 * nr + 1];
    let around =
        heights.into_iter().flat_map(|m| widths.map(|n| [1, 7, 36].map(|k| Shape { m, n, k })));
    let blocks = Shape { m: 2 * mr + 1, n: 6 * nr + 5, k: 1100 };
    let mut products = 0;
    for shape in around.flatten().chain([blocks]) {
        for transposed in [(false, false), (true, false), (false, true), (true, true)] {
            for (factors, threads) in [((1.0, 0.0), 1), ((-2.0, 3.0), 2)] {
                check_one::<T>(kernel, shape, transposed, factors, threads)?;
                products += 1;
            }
        }
    }
    Ok(products)
}

fn check_one<T: Element>(
    kernel: Kernel,
    shape: Shape,
    (a_transposed, b_transposed): (bool, bool),
    (alpha, beta): (f64, f64),
    threads: usize,
) -> Result<(), CheckError> {
    let Shape { m, n, k } = shape;
    let extent = |start, (rows, columns), transposed| match transposed {
        false => Extent { start, rows, columns, transposed },
        true => Extent { start, rows: columns, columns: rows, transposed },
    };
    let a = extent(0, (m, k), a_transposed);
    let b = extent(m * k, (k, n), b_transposed);
    let operands = integers::<T>(m * k + k * n, 1)?;
    // Where beta is zero, C must not be read: what is no number would show.
    let mut c = integers::<T>(m * n, 2)?;
    if beta == 0.0 {
        c.fill(T::from_f64(f64::NAN));
    }
    let expected = |row: usize, column: usize| {
        let (a, b) = (a.view(&operands), b.view(&operands));
        let sum = (0..k).fold(T::default(), |sum, p| sum + a[[row, p]] * b[[p, column]]);
        let kept = if beta == 0.0 { T::default() } else { T::from_f64(beta) * c[row * n + column] };
        T::from_f64(alpha) * sum + kept
    };
    let mut wanted = reserved(m * n)?;
    wanted.extend((0..m * n).map(|index| expected(index / n, index % n)));
    let factors = (T::from_f64(alpha), T::from_f64(beta));
    let mut product = Product::by_kernel(kernel, operands, (a, b), factors, c, threads)
        .map_err(CheckError::Memory)?;
    while !product.advance(&Alone, &|| false) {}
    let found = product.into_result();
    match found.iter().zip(&wanted).position(|(found, wanted)| found != wanted) {
        Some(index) => Err(CheckError::Wrong { shape, row: index / n, column: index % n }),
        None => Ok(()),
    }
}

/// Integers from -8 to 7, in no order.
fn integers<T: Element>(count: usize, seed: u64) -> Result<Vec<T>, CheckError> {
    let mut state = seed;
    let mut elements = reserved(count)?;
    elements.extend((0..count).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        T::from_f64((state >> 60) as f64 - 8.0)
    }));
    Ok(elements)
}

fn reserved<T>(count: usize) -> Result<Vec<T>, CheckError> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).map_err(CheckError::Memory)?;
    Ok(elements)
}
