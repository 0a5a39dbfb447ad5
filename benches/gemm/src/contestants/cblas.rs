//! The C interface that OpenBLAS, MKL and BLIS share.

use std::ffi::c_int;
use std::mem;

use super::Contestant;
use super::libraries::Blas;
use crate::problem::Problem;
use crate::real::Real;
use crate::shape::Shape;

const ROW_MAJOR: c_int = 101;
const AS_IS: c_int = 111;
const TRANSPOSED: c_int = 112;

/// `cblas_?gemm`: order, transpositions, m, n, k, alpha, A, B, beta, C with leading dimensions.
type Gemm<T> = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    T,
    *const T,
    c_int,
    *const T,
    c_int,
    T,
    *mut T,
    c_int,
);

/// `cblas_?gemv`: order, transposition, rows, columns, alpha, A, lda, x, incx, beta, y, incy.
type Gemv<T> = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    T,
    *const T,
    c_int,
    *const T,
    c_int,
    T,
    *mut T,
    c_int,
);

/// `cblas_?gemm_batch_strided`: as gemm, each matrix with the distance to the next, and the count.
type GemmBatchStrided<T> = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    T,
    *const T,
    c_int,
    c_int,
    *const T,
    c_int,
    c_int,
    T,
    *mut T,
    c_int,
    c_int,
    c_int,
);

pub struct Cblas<T> {
    gemm: Gemm<T>,
    gemv: Gemv<T>,
    /// Where it is the better way.
    gemm_batch_strided: Option<GemmBatchStrided<T>>,
    describe: String,
}

impl<T: Real> Cblas<T> {
    pub fn load(blas: &Blas) -> Result<Self, String> {
        let complain = |error| format!("{}: {error}", blas.name);
        let library = blas.open().map_err(complain)?;
        let symbol = |name: &str| format!("{}cblas_{}{name}", blas.prefix, T::LETTER);
        // SAFETY: CBLAS with integers of 32 bits: the libraries' builds were chosen so.
        let gemm = *unsafe { library.get(symbol("gemm").as_bytes()) }.map_err(complain)?;
        // SAFETY: as above.
        let gemv = *unsafe { library.get(symbol("gemv").as_bytes()) }.map_err(complain)?;
        let gemm_batch_strided = match blas.batch {
            // SAFETY: as above.
            true => Some(
                *unsafe { library.get(symbol("gemm_batch_strided").as_bytes()) }
                    .map_err(complain)?,
            ),
            false => None,
        };
        let describe = (blas.describe)(&library);
        // Never unloaded: the functions must stay, and so must what the threads of its pool run.
        mem::forget(library);
        Ok(Self { gemm, gemv, gemm_batch_strided, describe })
    }
}

impl<T: Real> Contestant<T> for Cblas<T> {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        let Shape { m, n, k, count } = problem.shape;
        let shape @ [m, n, k, count] = [m, n, k, count].map(|size| size as c_int);
        if let (2.., Some(batch)) = (count, self.gemm_batch_strided) {
            return multiply_batch(batch, problem, shape);
        }
        let (one, zero) = (T::ONE, T::ZERO);
        for (a, b, c) in problem.products() {
            let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
            // Whoever has a vector calls gemv; OpenBLAS's gemm has a quarter of its speed.
            if n == 1 {
                // SAFETY: `products` cuts A, x and y to m k, k and m elements, y apart.
                unsafe { (self.gemv)(ROW_MAJOR, AS_IS, m, k, one, a, k, b, 1, zero, c, 1) };
            } else if m == 1 {
                // SAFETY: as above, with B^T for A and the row A for x.
                unsafe { (self.gemv)(ROW_MAJOR, TRANSPOSED, k, n, one, b, n, a, 1, zero, c, 1) };
            } else {
                // SAFETY: `products` cuts A, B and C to m k, k n and m n elements, C apart.
                unsafe {
                    (self.gemm)(ROW_MAJOR, AS_IS, AS_IS, m, n, k, one, a, k, b, n, zero, c, n);
                }
            }
        }
    }

    fn describe(&self) -> String {
        self.describe.clone()
    }
}

fn multiply_batch<T: Real>(
    batch: GemmBatchStrided<T>,
    problem: &mut Problem<T>,
    [m, n, k, count]: [c_int; 4],
) {
    let (a, b) = problem.operands.split_at((count * m * k) as usize);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), problem.c.as_mut_ptr());
    let (one, zero) = (T::ONE, T::ZERO);
    // SAFETY: the problem holds `count` matrices A, B and C one after the other, C apart.
    unsafe {
        batch(
            ROW_MAJOR,
            AS_IS,
            AS_IS,
            m,
            n,
            k,
            one,
            a,
            k,
            m * k,
            b,
            n,
            k * n,
            zero,
            c,
            n,
            m * n,
            count,
        );
    }
}
