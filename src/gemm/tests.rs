use alloc::vec::Vec;

use super::*;

/// Small integers, so that every sum is exact in f32 and any difference is a defect.
fn integers<T: Element>(count: usize, seed: u64) -> Vec<T> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            T::from_f64((state >> 60) as f64 - 8.0)
        })
        .collect()
}

fn fractions(count: usize) -> Vec<f64> {
    let mut state = 5u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / 1e15 - 4.0
        })
        .collect()
}

/// The instruction sets that this CPU has. What a test leaves out, it says; where the environment
/// names a set that must be here (`GEMMULE_TEST_ISA=avx512`), its lack is a failure.
fn isas() -> Vec<Isa> {
    let must = option_env!("GEMMULE_TEST_ISA");
    Isa::ALL
        .into_iter()
        .filter(|isa| {
            assert!(isa.is_here() || must != Some(isa.name()), "no {} here", isa.name());
            isa.is_here()
        })
        .collect()
}

/// A product's operands within one buffer, behind a gap.
fn extents(shape: Shape, (transposed_a, transposed_b): (bool, bool)) -> (Extent, Extent) {
    let Shape { m, n, k } = shape;
    let (rows, columns) = if transposed_a { (k, m) } else { (m, k) };
    let a = Extent { start: 3, rows, columns, transposed: transposed_a };
    let (rows, columns) = if transposed_b { (n, k) } else { (k, n) };
    (a, Extent { start: 3 + m * k, rows, columns, transposed: transposed_b })
}

/// The product by its definition.
fn expected<T: Element>(
    (a, b): (ArrayView2<T>, ArrayView2<T>),
    scale: Scale<T>,
    c: &[T],
) -> Vec<T> {
    let ((m, k), n) = (a.dim(), b.dim().1);
    let mut result = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let sum = (0..k).fold(T::default(), |sum, p| sum + a[[i, p]] * b[[p, j]]);
            let kept =
                if scale.beta == T::default() { scale.beta } else { scale.beta * c[i * n + j] };
            result.push(scale.alpha * sum + kept);
        }
    }
    result
}

fn check<T: Element + core::fmt::Debug>(
    way: impl Fn(Extent, Extent) -> Way<T>,
    shape: Shape,
    transposes: (bool, bool),
    (alpha, beta): (f64, f64),
) {
    let Shape { m, n, k } = shape;
    let (a, b) = extents(shape, transposes);
    let operands: Vec<T> = integers(3 + m * k + k * n, 7);
    // Where beta is zero, C must not be read: a NaN would show.
    let c: Vec<T> = match beta {
        0.0 => (0..m * n).map(|_| T::from_f64(f64::NAN)).collect(),
        _ => integers(m * n, 11),
    };
    let scale = Scale { alpha: T::from_f64(alpha), beta: T::from_f64(beta) };
    let reference = expected((a.view(&operands), b.view(&operands)), scale, &c);
    let mut product = Product::by(way(a, b), operands, (a, b), scale, c);
    while !product.advance(&mut || true) {}
    assert_eq!(product.c, reference, "{shape:?} {transposes:?} {scale:?} {:?}", product.way);
}

/// Every transposition, and every kind of alpha and beta.
fn check_all<T: Element + core::fmt::Debug>(way: impl Fn(Extent, Extent) -> Way<T>, shape: Shape) {
    for transposes in [(false, false), (true, false), (false, true), (true, true)] {
        check(&way, shape, transposes, (1.0, 0.0));
    }
    for scale in [(-2.0, 3.0), (0.0, 1.0), (0.5, 0.0), (1.0, 1.0), (1.0, -1.0)] {
        check(&way, shape, (false, false), scale);
        check(&way, shape, (true, true), scale);
    }
}

fn way<T: Element>(kernel: Kernel) -> impl Fn(Extent, Extent) -> Way<T> {
    move |a, b| Way::new(kernel, caches(), a, b).expect("memory")
}

const fn cube(size: usize) -> Shape {
    Shape { m: size, n: size, k: size }
}

/// Zero, one, and one either side of `size`.
fn around(size: usize) -> impl Iterator<Item = usize> + Clone {
    [0, 1, 2, 3, size - 1, size, size + 1, 2 * size - 1, 2 * size, 2 * size + 1].into_iter()
}

#[test]
fn every_kernel_is_exact_around_its_tile() {
    fn check_kernel<T: Element + core::fmt::Debug>(isa: Isa) {
        let kernel = T::microkernel(isa);
        for m in around(kernel.mr) {
            for n in around(kernel.nr).chain([5, 8, 9, 16, 17]) {
                check(way::<T>(Kernel::Own(isa)), Shape { m, n, k: 7 }, (false, false), (1.0, 0.0));
                check(way::<T>(Kernel::Own(isa)), Shape { m, n, k: 4 }, (true, true), (1.0, 2.0));
            }
        }
        for k in [0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 257, 1030] {
            for (m, n) in [(1, 1), (1, 9), (9, 1), (2, 3), (kernel.mr + 1, kernel.nr + 1)] {
                check_all(way::<T>(Kernel::Own(isa)), Shape { m, n, k });
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

#[test]
fn every_blocking_is_exact_around_its_blocks() {
    fn check_blocking<T: Element + core::fmt::Debug>(
        isa: Isa,
        packs: (bool, bool),
        mc_panels: usize,
    ) {
        let kernel = T::microkernel(isa);
        let (mr, nr) = (kernel.mr, kernel.nr);
        let (mc, kc, nc) = (mr * mc_panels, 4, 2 * nr);
        let way = |a: Extent, b: Extent| {
            if !is_of_matrices(shape_of(a, b)) {
                return Way::new(Kernel::Own(isa), caches(), a, b).expect("memory");
            }
            let packs_b = packs.1 || b.transposed;
            let blocking = Blocking { mc, kc, nc, packs_a: packs.0, packs_b };
            let loops = FiveLoops::new(kernel, shape_of(a, b), blocking);
            Way::FiveLoops(loops.expect("memory"))
        };
        let inner = [2, mc - 1, mc, mc + 1, 2 * mc + 1];
        for m in inner {
            for k in [1, kc - 1, kc, kc + 1, 2 * kc, 2 * kc + 1] {
                for n in [2, nr, nc - 1, nc, nc + 1, 2 * nc + 1] {
                    check::<T>(way, Shape { m, n, k }, (false, false), (1.0, 0.0));
                    check::<T>(way, Shape { m, n, k }, (true, true), (-1.0, 2.0));
                }
            }
        }
        check_all::<T>(way, Shape { m: mc + 1, n: nc + 1, k: kc + 1 });
    }
    for isa in isas() {
        for packs in [(false, false), (true, false), (false, true), (true, true)] {
            check_blocking::<f64>(isa, packs, 1);
            check_blocking::<f32>(isa, packs, 2);
        }
    }
}

#[test]
fn the_fallback_is_exact_around_its_tiles() {
    use super::reference::{KC, MC, NC};
    let either_side = |size: usize| [size - 1, size, size + 1];
    let shapes = [0, 1, 2, 7]
        .map(cube)
        .into_iter()
        .chain(either_side(MC).map(|m| Shape { m, n: 5, k: 9 }))
        .chain(either_side(NC).map(|n| Shape { m: 5, n, k: 9 }))
        .chain(either_side(KC).map(|k| Shape { m: 5, n: 9, k }))
        .chain([Shape { m: 2 * MC + 1, n: NC + 1, k: KC + 1 }]);
    for shape in shapes {
        check_all(way::<f64>(Kernel::Matrixmultiply), shape);
        check_all(way::<f32>(Kernel::Matrixmultiply), shape);
    }
}

/// What lies between the rows of a tile of C is not touched, nor what follows the last.
#[test]
fn gaps_in_c_stay_as_they_are() {
    use super::kernel::{Right, Size, Target};
    fn check_gaps<T: Element + core::fmt::Debug>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let row_stride = kernel.nr + 5;
        let (a, b): (Vec<T>, Vec<T>) = (integers(3 * kernel.mr, 1), integers(3 * kernel.nr, 2));
        for rows in 1..=kernel.mr {
            for columns in 1..=kernel.nr {
                let untouched = T::from_f64(77.5);
                let mut c = alloc::vec![untouched; (kernel.mr + 1) * row_stride];
                let a = Left { elements: &a, row_stride: 1, column_stride: kernel.mr };
                let b = Right { elements: &b, row_stride: kernel.nr, ahead: 0 };
                let scale = Scale { alpha: T::from_f64(1.0), beta: T::from_f64(0.0) };
                let target = Target { elements: &mut c, row_stride };
                kernel.multiply(Size { rows, columns, terms: 3 }, a, b, scale, target);
                for (index, element) in c.iter().enumerate() {
                    let is_within = index / row_stride < rows && index % row_stride < columns;
                    // Sums of products of integers are never 77.5.
                    assert_eq!(*element == untouched, !is_within, "{isa:?} {rows} x {columns}");
                }
            }
        }
    }
    for isa in isas() {
        check_gaps::<f64>(isa);
        check_gaps::<f32>(isa);
    }
}

/// Blocks for every cache that a CPU may claim stay within a slice, and hold what they must.
#[test]
fn blocks_are_sane_where_cpuid_is_not() {
    let sizes = [16 << 10, 32 << 10, 48 << 10, 256 << 10];
    let larger = [128 << 10, 256 << 10, 1 << 20, 2 << 20, 16 << 20];
    let shapes = [cube(2), cube(4096), Shape { m: 2, n: 1 << 24, k: 1 }];
    for isa in isas() {
        let kernel = f64::microkernel(isa);
        for l1_bytes in sizes {
            for (l2_bytes, shape) in larger.into_iter().zip(shapes.into_iter().cycle()) {
                let caches = Caches { l1_bytes, l2_bytes };
                let (a, b) = extents(shape, (true, true));
                let Blocking { mc, kc, nc, .. } = Blocking::new(kernel, caches, shape, (a, b));
                assert!(mc % kernel.mr == 0 && nc % kernel.nr == 0 && kc % 4 == 0);
                assert!(mc > 0 && kc > 0 && nc > 0);
                let slice_flops = 2 * mc.min(shape.m) * nc.min(shape.n) * kc.min(shape.k);
                assert!(slice_flops <= 2 * plan::SLICE_FLOPS, "{caches:?} {shape:?}");
            }
        }
    }
}

#[test]
fn slicing_changes_no_bit() {
    let shapes = [
        Shape { m: 100, n: 150, k: 600 },
        Shape { m: 300, n: 1, k: 5000 },
        Shape { m: 1, n: 3000, k: 500 },
    ];
    for shape in shapes {
        let (a, b) = extents(shape, (false, false));
        let operands = fractions(3 + shape.m * shape.k + shape.k * shape.n);
        let run = |pause_after: usize| {
            let c = alloc::vec![0.0; shape.m * shape.n];
            let product = Product::new(operands.clone(), a, b, 1.0, 0.0, c);
            let mut product = product.expect("memory");
            let mut slices = 0;
            while !product.advance(&mut || {
                slices += 1;
                slices % pause_after == 0
            }) {}
            assert!(slices > 1, "{shape:?} is too small for this test");
            product.into_result()
        };
        let whole = run(usize::MAX);
        assert!(whole.iter().any(|element| *element != 0.0));
        for pause_after in [1, 2, 5] {
            let sliced = run(pause_after);
            assert!(whole.iter().zip(&sliced).all(|(one, other)| one.to_bits() == other.to_bits()));
        }
    }
}

/// C t against A (B t), exactly, at sizes with many blocks.
#[test]
fn large_products_map_vectors_as_their_factors_do() {
    let apply = |matrix: ArrayView2<f64>, vector: &[f64]| -> Vec<f64> {
        let dot = |row: ndarray::ArrayView1<f64>| row.iter().zip(vector).map(|(x, y)| x * y).sum();
        matrix.outer_iter().map(dot).collect()
    };
    let shapes = [Shape { m: 203, n: 1031, k: 1029 }, Shape { m: 40, n: 2500, k: 300 }];
    for (shape, transposes) in
        shapes.into_iter().flat_map(|shape| [(shape, (false, false)), (shape, (true, true))])
    {
        let Shape { m, n, k } = shape;
        let (a, b) = extents(shape, transposes);
        let operands: Vec<f64> = integers(3 + m * k + k * n, 3);
        let vector: Vec<f64> = integers(n, 9);
        let wanted = apply(a.view(&operands), &apply(b.view(&operands), &vector));
        for isa in isas() {
            let c = alloc::vec![f64::NAN; m * n];
            let way = Way::new(Kernel::Own(isa), caches(), a, b).expect("memory");
            let scale = Scale { alpha: 1.0, beta: 0.0 };
            let mut product = Product::by(way, operands.clone(), (a, b), scale, c);
            while !product.advance(&mut || true) {}
            let found = ArrayView2::from_shape((m, n), &product.c).expect("m n elements");
            assert_eq!(apply(found, &vector), wanted, "{shape:?} {isa:?}");
        }
    }
}

/// What is not a number shows in its row or column, and nowhere else.
#[test]
fn infinities_and_nans_go_where_they_must() {
    let shape = Shape { m: 19, n: 29, k: 21 };
    let (a, b) = extents(shape, (false, false));
    for isa in isas() {
        let mut operands: Vec<f64> = alloc::vec![1.0; 3 + shape.m * shape.k + shape.k * shape.n];
        operands[a.start + 17 * shape.k + 20] = f64::INFINITY;
        operands[b.start + 3 * shape.n + 28] = f64::NAN;
        let way = Way::new(Kernel::Own(isa), caches(), a, b).expect("memory");
        let c = alloc::vec![0.0; shape.m * shape.n];
        let scale = Scale { alpha: 1.0, beta: 0.0 };
        let mut product = Product::by(way, operands, (a, b), scale, c);
        product.advance(&mut || false);
        for (index, element) in product.c.iter().enumerate() {
            match (index / shape.n, index % shape.n) {
                (_, 28) => assert!(element.is_nan()),
                (17, _) => assert_eq!(*element, f64::INFINITY),
                _ => assert_eq!(*element, 21.0),
            }
        }
    }
}

#[test]
fn the_workspace_is_what_was_announced() {
    for shape in [cube(2), cube(300), cube(1000), Shape { m: 1, n: 9, k: 9 }] {
        let (a, b) = extents(shape, (true, true));
        let allocated = match way::<f64>(Kernel::of_this_machine())(a, b) {
            Way::FiveLoops(loops) => loops.workspace_bytes(),
            _ => 0,
        };
        assert_eq!(allocated, workspace_bytes::<f64>(a, b), "{shape:?}");
    }
}

/// On a CPU that has both, nothing else would notice.
#[test]
fn tiles_of_avx2_name_no_register_of_avx512() {
    let code = include_str!("kernel/avx2.rs");
    assert!(code.contains("ymm"));
    assert!(!code.contains("zmm"));
}
