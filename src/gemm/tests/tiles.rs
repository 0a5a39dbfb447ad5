//! The tiles: of every size, from every layout, and in the order of a direct product.

use super::*;

/// Every layout of A and B, and every kind of alpha and beta.
fn check_all<T: Number>(plan: impl Fn(Layout) -> Parts<T>, shape: Shape) {
    const ROWS: Strides = Strides::ROWS;
    const TURNED: Strides = Strides::ROWS.turned();
    for (a, b) in [(ROWS, ROWS), (TURNED, ROWS), (ROWS, TURNED), (TURNED, TURNED)] {
        check(shape, [a, b, ROWS], (1.0, 0.0), &plan);
    }
    for scale in [(-2.0, 3.0), (0.0, 1.0), (0.5, 0.0), (1.0, 1.0), (1.0, -1.0)] {
        check(shape, [ROWS, ROWS, ROWS], scale, &plan);
        check(shape, [TURNED, TURNED, Strides::GAPS], scale, &plan);
    }
}

#[test]
fn every_kernel_is_exact_around_its_tile() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let plan = planned::<T>(Kernel::Own(isa), 1);
        for m in 0..=2 * kernel.mr + 1 {
            for n in 0..=2 * kernel.nr + 1 {
                let [rows, gaps, turned] = [Strides::ROWS, Strides::GAPS, Strides::ROWS.turned()];
                check(Shape { m, n, k: 7 }, [rows, rows, gaps], (1.0, 0.0), &plan);
                check(Shape { m, n, k: 4 }, [turned, rows, gaps], (-1.0, 1.0), &plan);
                check(Shape { m, n, k: 5 }, [turned, turned, gaps], (1.0, 2.0), &plan);
            }
        }
        for k in [0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 257, 1030] {
            for (m, n) in [(1, 1), (1, 9), (9, 1), (2, 3), (kernel.mr + 1, kernel.nr + 1)] {
                check_all(&plan, Shape { m, n, k });
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

#[test]
fn direct_products_are_exact_around_their_blocks_in_both_orders() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let (mr, nr) = (kernel.mr, kernel.nr);
        for (order, (mc, kc)) in [Order::Down, Order::Across]
            .into_iter()
            .flat_map(|order| [(mr, 4), (2 * mr, 5), (mr + 1, 1)].map(|block| (order, block)))
        {
            let plan = directly(kernel, (mc, kc), order);
            for m in [1, mc - 1, mc, mc + 1, 2 * mc + 1] {
                for k in [1, kc + 1, 2 * kc, 2 * kc + 1] {
                    for n in [1, nr - 1, nr + 1, 2 * nr + 1] {
                        let shape = Shape { m, n, k };
                        let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
                        check(shape, [rows, rows, rows], (1.0, 0.0), &plan);
                        check(shape, [rows.turned(), gaps, gaps], (-1.0, 2.0), &plan);
                    }
                }
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

/// Rows of B that meet in few places of the first-level cache: the first tile packs a micropanel of
/// them for those below, if there are enough.
#[test]
fn direct_products_are_exact_where_rows_of_b_crowd() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let (mr, nr) = (kernel.mr, kernel.nr);
        let plan = directly(kernel, (6 * mr, 128), Order::Down);
        for (m, k) in [4 * mr - 1, 4 * mr, 5 * mr + 1, 7 * mr]
            .into_iter()
            .flat_map(|m| [79, 80, 131, 208].map(|k| (m, k)))
        {
            let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
            for n in [128, 256] {
                check(Shape { m, n, k }, [rows, rows, rows], (1.0, 0.0), &plan);
            }
            check(Shape { m, n: 128, k }, [rows.turned(), rows, gaps], (-1.0, 2.0), &plan);
            check(Shape { m, n: 2 * nr + 1, k }, [gaps, rows, rows], (1.0, 1.0), &plan);
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

fn b_rows_are_contiguous<T: Number>(shape: Shape, b: Strides) -> bool {
    Case::<T>::new(Shape { m: 0, ..shape }, [Strides::ROWS, b, Strides::ROWS], (1.0, 0.0))
        .layout()
        .b_rows
}

/// Whatever the strides, if the rows of C are contiguous: by the plan, directly where the rows of B
/// are contiguous too, and by the five loops.
#[test]
fn every_kernel_takes_every_stride() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let shape = Shape { m: 2 * kernel.mr + 1, n: kernel.nr + 2, k: 9 };
        let vectors = [Shape { n: 1, ..shape }, Shape { m: 1, ..shape }];
        let blocking = Blocking { nc: kernel.nr, ..BLOCKING };
        let planned = planned::<T>(Kernel::Own(isa), 1);
        for (a, b) in Strides::ALL.into_iter().flat_map(|a| Strides::ALL.map(|b| (a, b))) {
            for c in Strides::OF_C {
                for shape in vectors.into_iter().chain([shape]) {
                    check(shape, [a, b, c], (1.0, -1.0), &planned);
                    for packs_a in [false, true] {
                        let blocking = Blocking { packs_a, ..blocking };
                        let plan = by_five_loops(kernel, blocking);
                        check(shape, [a, b, c], (2.0, 0.0), plan);
                    }
                    if b_rows_are_contiguous::<T>(shape, b) {
                        let plan = directly(kernel, (kernel.mr, 4), Order::Across);
                        check(shape, [a, b, c], (1.0, 1.0), plan);
                    }
                }
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

/// Vectors longer than a slice takes terms and columns, and every remainder of streams and lanes.
#[test]
fn passes_are_exact_around_streams_lanes_and_slices() {
    fn check_kernel<T: Number>(isa: Isa) {
        let plan = planned::<T>(Kernel::Own(isa), 1);
        let lanes = T::microkernel(isa).lanes;
        let check_both = |shape: Shape| {
            let [rows, gaps, turned] = [Strides::ROWS, Strides::GAPS, Strides::GAPS.turned()];
            for matrix in [rows, gaps, turned] {
                let strides =
                    if shape.n == 1 { [matrix, rows, rows] } else { [rows, matrix, rows] };
                check(shape, strides, (1.0, 0.0), &plan);
                check(shape, strides, (-1.0, 2.0), &plan);
            }
        };
        for outputs in (0..10).chain(around(lanes)).chain([2 * lanes + 3]) {
            for k in around(2 * lanes) {
                check_both(Shape { m: outputs, n: 1, k });
                check_both(Shape { m: 1, n: outputs, k });
            }
        }
        if cfg!(miri) {
            return;
        }
        // A slice takes 131 072 terms of a row, or 8192 columns. Larger sums need f64.
        for (outputs, k) in [(8191, 6), (8192, 5), (8193, 7), (16_385, 4)] {
            check_both(Shape { m: outputs, n: 1, k });
            check_both(Shape { m: 1, n: outputs, k });
        }
        if size_of::<T>() == 8 {
            for k in [131_071, 131_072, 131_073] {
                check_both(Shape { m: 5, n: 1, k });
                check_both(Shape { m: 1, n: 5, k });
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

/// What lies between the rows of a tile of C is not touched, nor what follows the last.
#[test]
fn gaps_in_c_stay_as_they_are() {
    fn check_gaps<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let nc = kernel.nr;
        let blocking = Blocking { nc, packs_a: true, streams: true, ..BLOCKING };
        for m in 1..=kernel.mr {
            for n in 1..=kernel.nr {
                for scale in [(1.0, 0.0), (1.0, 1.0)] {
                    let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
                    let (shape, strides) = (Shape { m, n, k: 3 }, [rows, rows, gaps]);
                    check(shape, strides, scale, directly(kernel, (kernel.mr, 4), Order::Down));
                    check(shape, strides, scale, by_five_loops(kernel, blocking));
                }
            }
        }
    }
    for isa in isas() {
        check_gaps::<f64>(isa);
        check_gaps::<f32>(isa);
    }
}

/// On a CPU that has both, nothing else would notice.
#[test]
fn tiles_of_avx2_name_no_register_of_avx512() {
    let code = include_str!("../kernel/avx2.rs");
    assert!(code.contains("ymm"));
    assert!(!code.contains("zmm"));
}
