//! What becomes of numbers that are no small integers: rounding, infinities, NaN.

use super::*;

/// The sum of two doubles, the second a rounding error of the first: 106 bits.
#[derive(Clone, Copy, Default)]
struct Double {
    high: f64,
    low: f64,
}

impl Double {
    /// Dekker's and Knuth's error-free product and sum.
    fn add_product(&mut self, one: f64, other: f64) {
        let product = one * other;
        let error = one.mul_add(other, -product);
        let sum = self.high + product;
        let of_sum = sum - self.high;
        let lost = (self.high - (sum - of_sum)) + (product - of_sum);
        let low = self.low + (lost + error);
        self.high = sum + low;
        self.low = low - (self.high - sum);
    }
}

/// An element of C to 106 bits, and how far from it the documentation lets a result be.
pub struct Exact {
    value: Double,
    pub bound: f64,
}

impl Exact {
    /// How far `found` is from it.
    pub fn error(&self, found: f64) -> f64 {
        ((found - self.value.high) - self.value.low).abs()
    }
}

/// All of C, row by row.
pub fn exactly<T: Number>(case: &Case<T>) -> Vec<Exact> {
    let Shape { n, k, .. } = case.shape;
    let unit = if size_of::<T>() == 8 { 2f64.powi(-53) } else { 2f64.powi(-24) };
    // The bound is to first order in u: this is it with the other orders.
    let roundings = (k + 3) as f64 * unit;
    let roundings = roundings / (1.0 - roundings);
    let (alpha, beta) = (case.scale.alpha.into(), case.scale.beta.into());
    let b: Vec<f64> = case.b.view().iter().map(|element| (*element).into()).collect();
    let mut result = Vec::new();
    for (i, row) in case.a.view().outer_iter().enumerate() {
        let mut sums = alloc::vec![Double::default(); n];
        let mut sizes = alloc::vec![0.0f64; n];
        for (p, factor) in row.iter().enumerate() {
            let factor: f64 = (*factor).into();
            for (j, element) in b[p * n..][..n].iter().enumerate() {
                sums[j].add_product(factor, *element);
                sizes[j] += (factor * element).abs();
            }
        }
        for (j, sum) in sums.iter().enumerate() {
            let mut value = Double::default();
            value.add_product(alpha, sum.high);
            value.add_product(alpha, sum.low);
            let mut size = alpha.abs() * sizes[j];
            if beta != 0.0 {
                let present: f64 = case.c.view()[[i, j]].into();
                value.add_product(beta, present);
                size += (beta * present).abs();
            }
            result.push(Exact { value, bound: roundings * size });
        }
    }
    result
}

/// What part of the bound the worst element is off by.
fn share_of_bound<T: Number>(exact: &[Exact], c: &ArrayView2<T>) -> f64 {
    exact.iter().zip(c).fold(0.0, |worst, (exact @ Exact { bound, .. }, found)| {
        let error = exact.error((*found).into());
        assert!(error <= *bound, "{error:e} is more than {bound:e} in {:?}", c.dim());
        if *bound > 0.0 { f64::max(worst, error / bound) } else { worst }
    })
}

/// The bound of the module's documentation, elementwise, against 106 bits: of random shapes with
/// random fractions, by every kernel, with small caches and those of this machine.
#[test]
#[cfg_attr(miri, ignore = "too large")]
fn the_error_is_within_the_documented_bound() {
    fn check<T: Number>(seed: u64) {
        let mut random = Random(seed);
        let mut worst = alloc::vec![0.0f64; Isa::ALL.len() + 1];
        for round in 0..30 {
            let size = |random: &mut Random| random.size(1, 300);
            let shape = match round {
                24 | 25 => Shape { m: 1, n: size(&mut random), k: 5000 },
                26 | 27 => Shape { m: size(&mut random), n: 1, k: 5000 },
                28 => Shape { m: 3, n: 5, k: 9000 },
                29 => Shape { m: 1, n: 1, k: 20_000 },
                _ => Shape { m: size(&mut random), n: size(&mut random), k: size(&mut random) },
            };
            let Shape { m, n, k } = shape;
            let all = [Strides::ROWS, Strides::ROWS.turned(), Strides::GAPS];
            let mut any = || all[random.size(0, 2)];
            let (a, b) = (any(), any());
            let beta = if round % 3 == 0 { 0.0 } else { random.fraction() };
            let case = Case::<T> {
                shape,
                a: Laid::fractions((m, k), a, random.next()),
                b: Laid::fractions((k, n), b, random.next()),
                c: Laid::fractions((m, n), Strides::ROWS, random.next()),
                scale: scale_of((3.0 * random.fraction(), beta)),
            };
            let exact = exactly(&case);
            let kernels = isas().into_iter().map(Kernel::Own).chain([Kernel::Matrixmultiply]);
            for (kernel, worst) in kernels.zip(&mut worst) {
                for caches in [caches(), SMALL_CACHES] {
                    let mut c = case.c.clone();
                    let (a, b) = (case.a.view(), case.b.view());
                    let operands = Operands { a, b, c: c.view_mut() };
                    let parts = Parts::new(
                        kernel,
                        caches,
                        operands.layout(),
                        1 + round % 3,
                        &mut Workspace::default(),
                    );
                    parts.expect("memory").advance(operands, case.scale, &Alone, &|| false);
                    *worst = worst.max(share_of_bound(&exact, &c.view()));
                }
            }
            // Without a plan, where it is tiny.
            let mut c = case.c.clone();
            let Scale { alpha, beta } = case.scale;
            multiply(
                alpha,
                &case.a.view(),
                &case.b.view(),
                beta,
                &mut c.view_mut(),
                &Alone,
                &mut Workspace::default(),
            )
            .expect("memory");
            share_of_bound(&exact, &c.view());
        }
        std::eprintln!("{:?}: at most {worst:.3?} of the bound", T::DTYPE);
        assert!(worst[0] > 0.0, "nothing was rounded");
    }
    check::<f64>(1);
    check::<f32>(2);
}

/// Equal, or neither is a number.
fn is_same<T: Number>(one: &Laid<T>, other: &Laid<T>) -> bool {
    let pairs = one.buffer.iter().zip(&other.buffer);
    pairs.into_iter().all(|(one, other)| {
        let (one, other): (f64, f64) = ((*one).into(), (*other).into());
        one == other || (one.is_nan() && other.is_nan())
    })
}

/// The ways of a product, each by its own plan.
fn every_plan<T: Number>(isa: Isa) -> Vec<Box<dyn Fn(Layout) -> Parts<T>>> {
    let kernel = T::microkernel(isa);
    let blocking = Blocking { nc: kernel.nr, packs_a: true, streams: true, ..BLOCKING };
    alloc::vec![
        Box::new(planned(Kernel::Own(isa), 1)),
        Box::new(planned(Kernel::Own(isa), 3)),
        // Miri does not know all of its intrinsics.
        Box::new(planned(if cfg!(miri) { Kernel::Own(isa) } else { Kernel::Matrixmultiply }, 1)),
        Box::new(by_five_loops(kernel, blocking)),
        Box::new(by_five_loops(kernel, Blocking { packs_a: false, ..blocking })),
        Box::new(by_five_loops(kernel, Blocking { is_terms_first: false, ..blocking })),
    ]
}

/// Multiplies in every way, by every kernel, and compares with the definition.
fn check_everywhere<T: Number>(case: &Case<T>) {
    let expected = case.expected();
    for isa in isas() {
        for (way, plan) in every_plan::<T>(isa).into_iter().enumerate() {
            let mut c = case.c.clone();
            let (a, b) = (case.a.view(), case.b.view());
            let operands = Operands { a, b, c: c.view_mut() };
            let mut parts = plan(operands.layout());
            parts.advance(operands, case.scale, &Alone, &|| false);
            let (shape, scale) = (case.shape, case.scale);
            assert!(
                is_same(&c, &expected),
                "{shape:?} {scale:?} {isa:?} way {way}\n{:?}\n{:?}\n{c:?}\nis to be\n{expected:?}",
                case.a,
                case.b
            );
        }
    }
}

/// The shapes that take all ways, with rests in every dimension.
const SHAPES: [Shape; 6] = [
    Shape { m: 19, n: 29, k: 21 },
    Shape { m: 9, n: 50, k: 5 },
    Shape { m: 22, n: 1, k: 11 },
    Shape { m: 1, n: 38, k: 7 },
    Shape { m: 2, n: 1, k: 2 },
    Shape { m: 1, n: 3, k: 35 },
];

/// Infinities times zero, infinities of both signs in one sum, NaN times zero: scattered, they go
/// where the definition has them and nowhere else, whatever alpha and beta are.
#[test]
fn infinities_and_nans_go_where_ieee_sends_them() {
    fn check<T: Number>() {
        let mut random = Random(17);
        let specials = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let scales = [(1.0, 0.0), (1.0, 1.0), (-2.0, 0.5), (0.0, 0.0), (0.0, 1.0)];
        let rounds = if cfg!(miri) { 2 } else { 40 };
        for (shape, scale) in
            SHAPES.into_iter().flat_map(|shape| scales.map(|scale| (shape, scale)))
        {
            let turned = Strides::ROWS.turned();
            for (round, special) in (0..rounds).zip(specials.into_iter().cycle()) {
                let (a, b) =
                    if round % 2 == 0 { (Strides::ROWS, turned) } else { (turned, Strides::GAPS) };
                let mut case = Case::<T>::new(shape, [a, b, Strides::GAPS], scale);
                let (m, n, k) = (shape.m - 1, shape.n - 1, shape.k - 1);
                let value = T::from_f64(special);
                let at = [random.size(0, m), random.size(0, k)];
                case.a.view_mut()[at] = value;
                if round % 4 == 1 {
                    case.a.view_mut()[at] = T::from_f64(-special);
                    case.b.view_mut()[[random.size(0, k), random.size(0, n)]] = value;
                }
                if scale.1 != 0.0 && round % 4 == 2 {
                    case.c.view_mut()[[random.size(0, m), random.size(0, n)]] = value;
                }
                check_everywhere(&case);
            }
        }
    }
    check::<f64>();
    check::<f32>();
}

/// One special value in A meets rows of B that are all of one value.
fn check_special<T: Number>(special: f64, partner: f64, scale: (f64, f64), outcome: f64) {
    for shape in SHAPES {
        let mut case = Case::<T>::new(shape, [Strides::ROWS; 3], scale);
        let (i, p) = (shape.m - 1, shape.k - 1);
        case.a.view_mut()[[i, p]] = T::from_f64(special);
        case.b.view_mut().fill(T::from_f64(partner));
        let expected = case.expected();
        for element in expected.view().row(i) {
            let element: f64 = (*element).into();
            assert!(element == outcome || (element.is_nan() && outcome.is_nan()));
        }
        check_everywhere(&case);
    }
}

#[test]
fn nan_times_zero_is_nan() {
    check_special::<f64>(f64::NAN, 0.0, (1.0, 0.0), f64::NAN);
    check_special::<f32>(f64::NAN, 0.0, (1.0, 0.0), f64::NAN);
}

#[test]
fn infinity_times_zero_is_nan() {
    check_special::<f64>(f64::INFINITY, 0.0, (1.0, 1.0), f64::NAN);
    check_special::<f32>(f64::NEG_INFINITY, 0.0, (1.0, 1.0), f64::NAN);
}

#[test]
fn infinity_times_a_number_is_infinity() {
    check_special::<f64>(f64::INFINITY, -2.0, (1.0, 0.0), f64::NEG_INFINITY);
    check_special::<f32>(f64::NEG_INFINITY, -2.0, (0.5, 1.0), f64::INFINITY);
}

/// BLAS may skip the product where alpha is zero. We don't: the sum is computed and scaled.
#[test]
fn alpha_of_zero_hides_neither_nan_nor_infinity() {
    check_special::<f64>(f64::NAN, 1.0, (0.0, 1.0), f64::NAN);
    check_special::<f32>(f64::INFINITY, 1.0, (0.0, 0.0), f64::NAN);
}

#[test]
fn an_alpha_or_beta_of_nan_shows_everywhere() {
    for shape in SHAPES {
        for scale in [(f64::NAN, 0.0), (1.0, f64::NAN), (f64::NAN, f64::NAN)] {
            let case = Case::<f64>::new(shape, [Strides::ROWS; 3], scale);
            assert!(case.expected().view().iter().all(|element| element.is_nan()));
            check_everywhere(&case);
        }
    }
}

/// An empty sum is zero, so that C is scaled, and not read where beta is zero.
#[test]
fn products_of_no_terms_scale_c() {
    for (shape, scale) in [Shape { m: 3, n: 5, k: 0 }, Shape { m: 9, n: 1, k: 0 }]
        .into_iter()
        .flat_map(|shape| [(1.0, 0.0), (2.0, -3.0)].map(|scale| (shape, scale)))
    {
        for isa in isas() {
            let case =
                Case::<f64>::new(shape, [Strides::ROWS, Strides::ROWS, Strides::GAPS], scale);
            case.check(planned(Kernel::Own(isa), 1));
        }
    }
}

/// A beta of zero ignores what is in C, and so does a negative one.
#[test]
fn a_beta_of_minus_zero_does_not_read_c() {
    for shape in SHAPES {
        let mut case = Case::<f64>::new(shape, [Strides::ROWS; 3], (1.0, 0.0));
        case.scale.beta = -0.0;
        check_everywhere(&case);
    }
}

#[test]
fn sums_that_overflow_are_infinite() {
    for shape in SHAPES.into_iter().filter(|shape| shape.k > 1) {
        let mut case = Case::<f64>::new(shape, [Strides::ROWS; 3], (1.0, 0.0));
        case.a.view_mut().fill(-f64::MAX);
        case.b.view_mut().fill(1.0);
        assert!(case.expected().view().iter().all(|element| *element == f64::NEG_INFINITY));
        check_everywhere(&case);
    }
}

/// Not even a negative alpha gives it a sign.
#[test]
fn an_empty_sum_is_zero() {
    let (a, b) = (Array2::<f64>::zeros((2, 0)), Array2::zeros((0, 3)));
    let mut c = Array2::from_elem((2, 3), f64::NAN);
    multiply(-2.0, &a.view(), &b.view(), 0.0, &mut c.view_mut(), &Alone, &mut Workspace::default())
        .expect("memory");
    assert!(c.iter().all(|element| element.to_bits() == 0));
}
