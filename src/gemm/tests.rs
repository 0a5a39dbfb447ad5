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

/// The product by its definition.
fn expected<T: Element>(
    (a, b): (ArrayView2<T>, ArrayView2<T>),
    (alpha, beta): (T, T),
    c: &[T],
) -> Vec<T> {
    let ((m, k), n) = (a.dim(), b.dim().1);
    let zero = T::from_f64(0.0);
    let mut result = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let sum = (0..k).fold(zero, |sum, p| sum + a[[i, p]] * b[[p, j]]);
            let kept = if beta == zero { zero } else { beta * c[i * n + j] };
            result.push(alpha * sum + kept);
        }
    }
    result
}

fn check<T: Element + core::fmt::Debug>(
    shape: Shape,
    (transposed_a, transposed_b): (bool, bool),
    (alpha, beta): (f64, f64),
) {
    let Shape { m, n, k } = shape;
    let (rows, columns) = if transposed_a { (k, m) } else { (m, k) };
    let a = Extent { start: 3, rows, columns, transposed: transposed_a };
    let (rows, columns) = if transposed_b { (n, k) } else { (k, n) };
    let b = Extent { start: 3 + m * k, rows, columns, transposed: transposed_b };
    let operands: Vec<T> = integers(3 + m * k + k * n, 7);
    // Where beta is zero, C must not be read: a NaN would show.
    let c: Vec<T> = match beta {
        0.0 => (0..m * n).map(|_| T::from_f64(f64::NAN)).collect(),
        _ => integers(m * n, 11),
    };
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let reference = expected((a.view(&operands), b.view(&operands)), (alpha, beta), &c);
    let in_one_go = {
        let mut product = Product::new(operands.clone(), a, b, alpha, beta, c.clone());
        assert!(product.advance(&mut || false));
        product.into_result()
    };
    assert_eq!(in_one_go, reference, "{shape:?} {transposed_a} {transposed_b}");
    let mut product = Product::new(operands, a, b, alpha, beta, c);
    while !product.advance(&mut || true) {}
    assert_eq!(product.into_result(), reference, "{shape:?}, tile by tile");
}

#[test]
fn exact_around_every_tile_size() {
    let around = |size: usize| [size - 1, size, size + 1];
    let shapes = [0, 1, 2, 7]
        .into_iter()
        .map(|size| Shape { m: size, n: size, k: size })
        .chain(around(MC).map(|m| Shape { m, n: 5, k: 9 }))
        .chain(around(NC).map(|n| Shape { m: 5, n, k: 9 }))
        .chain(around(KC).map(|k| Shape { m: 5, n: 9, k }))
        .chain([
            Shape { m: 2 * MC + 1, n: NC + 1, k: KC + 1 },
            Shape { m: 0, n: 3, k: 4 },
            Shape { m: 3, n: 0, k: 4 },
            Shape { m: 3, n: 4, k: 0 },
            Shape { m: 1, n: 300, k: 1 },
        ]);
    for shape in shapes {
        for transposes in [(false, false), (true, false), (false, true), (true, true)] {
            check::<f64>(shape, transposes, (1.0, 0.0));
            check::<f32>(shape, transposes, (1.0, 0.0));
        }
        check::<f64>(shape, (false, false), (-2.0, 3.0));
        check::<f32>(shape, (false, true), (0.0, 1.0));
        check::<f32>(shape, (true, false), (0.5, 0.0));
    }
}

#[test]
fn slicing_changes_no_bit() {
    let shape = Shape { m: 100, n: 150, k: 600 };
    let mut state = 5u64;
    let operands: Vec<f64> = (0..shape.m * shape.k + shape.k * shape.n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / 1e15 - 4.0
        })
        .collect();
    let a = Extent { start: 0, rows: shape.m, columns: shape.k, transposed: false };
    let b = Extent { start: shape.m * shape.k, rows: shape.k, columns: shape.n, transposed: false };
    let run = |pause_after: usize| {
        let c = alloc::vec![0.0; shape.m * shape.n];
        let mut product = Product::new(operands.clone(), a, b, 1.0, 0.0, c);
        let mut tiles = 0;
        while !product.advance(&mut || {
            tiles += 1;
            tiles % pause_after == 0
        }) {}
        product.into_result()
    };
    let whole = run(usize::MAX);
    assert!(whole.iter().any(|element| *element != 0.0));
    for pause_after in [1, 2, 5] {
        let sliced = run(pause_after);
        assert!(whole.iter().zip(&sliced).all(|(one, other)| one.to_bits() == other.to_bits()));
    }
}
