//! The residual check: it finds what is wrong, and calls nothing wrong that is within the bound.

use super::*;

/// Everything about one product.
struct Checked<T> {
    shape: Shape,
    factors: (T, T),
    operands: Vec<T>,
    addend: Vec<T>,
    seed: u64,
}

impl<T: Number> Checked<T> {
    fn extents(&self) -> (Extent, Extent) {
        let Shape { m, n, k } = self.shape;
        let extent = |start, rows, columns| Extent { start, rows, columns, transposed: false };
        (extent(0, m, k), extent(m * k, k, n))
    }

    fn product(&self, kernel: Kernel) -> Vec<T> {
        let (operands, c) = (self.operands.clone(), self.addend.clone());
        let mut product = Product::by_kernel(kernel, operands, self.extents(), self.factors, c, 1)
            .expect("memory");
        while !product.advance(&Alone, &|| false) {}
        product.into_result()
    }

    /// What is said of a result, shown whole matrices, or pieces of so many elements.
    fn verdict(&self, result: &[T], piece: usize) -> Result<(), WrongRow> {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut residual = Residual::new(self.shape, self.factors, seed).expect("memory");
        assert!(Residual::is_possible(self.shape, self.factors.0));
        let (a, b) = self.extents();
        let pieces = |elements: &[T], see: &mut dyn FnMut(usize, &[T])| {
            for (index, part) in elements.chunks(piece).enumerate() {
                see(index * piece, part);
            }
        };
        if self.factors.1 != T::from_f64(0.0) {
            pieces(&self.addend, &mut |first, part| residual.see_addend(first, part));
        }
        pieces(b.elements(&self.operands), &mut |first, part| residual.see_b(first, part));
        pieces(a.elements(&self.operands), &mut |first, part| residual.see_a(first, part));
        // What was seen of another result is forgotten.
        pieces(&self.operands[..1], &mut |first, part| residual.see_result(first, part));
        residual.forget_result();
        pieces(result, &mut |first, part| residual.see_result(first, part));
        residual.judge::<T>()
    }
}

/// Kinds of elements that are hard on a bound.
fn nasty<T: Number>(kind: u64, count: usize, random: &mut Random) -> Vec<T> {
    let power = |random: &mut Random, from: i32, to: i32| {
        let exponent = from + random.size(0, (to - from) as usize) as i32;
        random.fraction() * 2f64.powi(exponent)
    };
    let wide = if size_of::<T>() == 8 { 1022 } else { 126 };
    let mut elements: Vec<T> = (0..count)
        .map(|_| {
            T::from_f64(match kind {
                0 => random.fraction(),
                1 => random.integer(),
                2 => power(random, -40, 40),
                // Squares of these are about as large, or as small, as numbers are.
                3 => power(random, wide / 2 - 8, wide / 2),
                4 => power(random, -wide / 2 - 20, -wide / 2),
                5 => power(random, -wide, wide),
                // Below all normal numbers.
                6 => power(random, -wide - 20, -wide),
                _ => match random.size(0, 30) {
                    0 => f64::INFINITY,
                    1 => f64::NAN,
                    2 => 0.0,
                    _ => random.fraction(),
                },
            })
        })
        .collect();
    // Half of them cancels the other half, wherever a row meets a column of equal elements.
    if random.size(0, 2) == 0 {
        for pair in elements.chunks_exact_mut(2) {
            pair[1] = T::from_f64(-1.0) * pair[0];
        }
    }
    elements
}

#[test]
fn no_product_is_called_wrong_that_is_not() {
    fn check<T: Number>(products: usize) {
        let mut random = Random(11);
        let factors = [1.0, -1.0, 0.0, 2.5, 1e-3, 1e30, 1e-30, f64::from(f32::MIN_POSITIVE) / 8.0];
        let kernels: Vec<Kernel> =
            isas().into_iter().map(Kernel::Own).chain([Kernel::Matrixmultiply]).collect();
        for number in 0..products {
            let mut length = |max| random.size(1, max);
            let mut shape = Shape { m: length(12), n: length(24), k: length(60) };
            if number % 50 == 0 {
                shape.k = length(3000);
            }
            let kinds = [random.size(0, 7), random.size(0, 7), random.size(0, 7)];
            let mut factor = || T::from_f64(factors[random.size(0, factors.len() - 1)]);
            let factors = (factor(), factor());
            if !Residual::is_possible(shape, factors.0) {
                continue;
            }
            let Shape { m, n, k } = shape;
            let mut operands = nasty(kinds[0] as u64, m * k, &mut random);
            operands.extend(nasty::<T>(kinds[1] as u64, k * n, &mut random));
            let addend = nasty(kinds[2] as u64, m * n, &mut random);
            let case = Checked { shape, factors, operands, addend, seed: number as u64 };
            let kernel = kernels[number % kernels.len()];
            let result = case.product(kernel);
            let piece = random.size(1, 300);
            assert_eq!(case.verdict(&result, piece), Ok(()), "{number}: {kernel:?} {shape:?}");
        }
    }
    check::<f64>(if cfg!(miri) { 40 } else { 6000 });
    check::<f32>(if cfg!(miri) { 40 } else { 6000 });
}

fn plain<T: Number>(shape: Shape, seed: u64) -> Checked<T> {
    let Shape { m, n, k } = shape;
    let factors = (T::from_f64(1.5), T::from_f64(-0.5));
    let operands = fractions(m * k + k * n, seed);
    Checked { shape, factors, operands, addend: fractions(m * n, seed + 1), seed }
}

#[test]
fn one_wrong_element_is_always_found() {
    fn check<T: Number>(relative: f64) {
        let shape = Shape { m: 23, n: 61, k: 70 };
        for seed in 0..200 {
            let case = plain::<T>(shape, 2 * seed);
            let result = case.product(Kernel::of_this_machine());
            let scale = result.iter().map(|element| element.to_f64().abs()).fold(0.0, f64::max);
            let mut random = Random(seed);
            let (row, column) = (random.size(0, shape.m - 1), random.size(0, shape.n - 1));
            for wrong in [scale * relative, -scale * relative, 1e30, f64::INFINITY, f64::NAN] {
                let mut result = result.clone();
                let element = &mut result[row * shape.n + column];
                *element = *element + T::from_f64(wrong);
                assert_eq!(case.verdict(&result, 100), Err(WrongRow(row)), "{seed}: {wrong}");
            }
        }
    }
    check::<f64>(1e-6);
    // A unit roundoff is that much more, and a row has as many of them.
    check::<f32>(1e-2);
}

/// Errors that cancel each other for one vector do so for few others.
#[test]
fn errors_that_might_cancel_are_found() {
    let shape = Shape { m: 3, n: 40, k: 30 };
    let mut missed = 0;
    for seed in 0..1000 {
        let case = plain::<f64>(shape, seed);
        let mut result = case.product(Kernel::of_this_machine());
        // Opposite errors of one size, as where two elements changed places.
        result[45] += 0.01;
        result[46] -= 0.01;
        missed += usize::from(case.verdict(&result, 1000).is_ok());
    }
    assert!(missed <= 1, "{missed}");
}

#[test]
fn a_row_without_infinities_is_judged_beside_one_that_has_some() {
    let shape = Shape { m: 4, n: 5, k: 6 };
    let mut case = plain::<f64>(shape, 3);
    case.operands[shape.k + 2] = f64::INFINITY;
    let result = case.product(Kernel::of_this_machine());
    assert!(result[shape.n..2 * shape.n].iter().all(|element| !element.is_finite()));
    assert_eq!(case.verdict(&result, 7), Ok(()));
    for (row, expected) in [(0, Err(WrongRow(0))), (1, Ok(())), (3, Err(WrongRow(3)))] {
        let mut result = result.clone();
        result[row * shape.n] = f64::NAN;
        assert_eq!(case.verdict(&result, 7), expected, "{row}");
    }
}

#[test]
fn nothing_is_said_where_no_bound_holds() {
    let long = Shape { m: 2, n: 2, k: 1 << 22 };
    assert!(Residual::is_possible(long, 1.0_f64));
    assert!(!Residual::is_possible(long, 1.0_f32));
    let vector = Shape { m: 1, n: 8, k: 8 };
    assert!(Residual::is_possible(vector, 0.5_f64) && !Residual::is_possible(vector, 2.0_f64));
}
