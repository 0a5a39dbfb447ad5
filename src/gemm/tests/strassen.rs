//! Products that are halved: as those that are not, in fewer operations.

use super::super::strassen::{Plan, Strassen};
use super::*;

/// What a product is made by.
#[derive(Clone, Copy, Debug)]
struct Way {
    kernel: Kernel,
    levels: usize,
    threads: usize,
}

impl Way {
    fn begin<T: Number>(self, layout: Layout, adds: bool) -> (Plan, Strassen<T>) {
        let Self { kernel, levels, threads } = self;
        let plan = Plan { whole: layout.shape, levels, adds };
        let way = (kernel, SMALL_CACHES);
        let strassen = Strassen::new(way, plan, layout, threads, &mut Workspace::default());
        (plan, strassen.expect("memory"))
    }

    /// Multiplies slice by slice, and demands what the definition says.
    fn check<T: Number>(self, case: Case<T>) {
        let mut case = case;
        let (expected, layout, scale) = (case.expected(), case.layout(), case.scale);
        let (plan, mut strassen) = self.begin::<T>(layout, scale.beta != T::default());
        let promised = plan.workspace_bytes::<T>(self.kernel, SMALL_CACHES, layout, self.threads);
        let mut flops = (0, 0);
        while !strassen.is_complete() {
            strassen.advance(case.operands(), scale, &Backwards::default(), &|| true);
            let done = (strassen.flops_done(), strassen.executed_flops());
            assert!(done.0 >= flops.0 && done.1 >= flops.1, "{done:?} after {flops:?}");
            assert!(strassen.workspace_bytes() <= promised, "{:?}", case.shape);
            flops = done;
        }
        assert_eq!(flops, (case.shape.flops(), plan.executed_flops()), "{:?}", case.shape);
        assert_eq!(strassen.workspace_bytes(), promised, "{:?}", case.shape);
        assert_eq!(case.c, expected, "{self:?} {:?} {scale:?}", case.shape);
    }
}

/// One either side of what can be halved, in every dimension.
fn sizes(levels: usize) -> impl Iterator<Item = Shape> {
    let unit = 1 << levels;
    let around = [unit, 5 * unit - 1, 5 * unit, 5 * unit + 1];
    let rows = around.into_iter().flat_map(move |m| around.map(|n| (m, n)));
    rows.flat_map(move |(m, n)| around.map(|k| Shape { m, n, k }))
}

#[test]
#[cfg_attr(miri, ignore = "too large for Miri")]
fn small_integers_are_exact_around_every_halving() {
    let scales = [(1.0, 0.0), (-2.0, 3.0), (1.0, 1.0)];
    for kernel in isas().into_iter().map(Kernel::Own).chain([Kernel::Matrixmultiply]) {
        for (levels, shape) in (1..=3).flat_map(|levels| sizes(levels).map(move |s| (levels, s))) {
            for (index, threads) in [1, 3].into_iter().enumerate() {
                let way = Way { kernel, levels, threads };
                let scale = scales[(shape.m + shape.n + shape.k + index) % 3];
                way.check(Case::<f64>::new(shape, [Strides::ROWS; 3], scale));
                way.check(Case::<f32>::new(shape, [Strides::ROWS; 3], scale));
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too large for Miri")]
fn operands_lie_in_any_way() {
    let shape = Shape { m: 21, n: 38, k: 27 };
    let kernel = Kernel::Own(isa());
    for (a, b) in Strides::ALL.into_iter().flat_map(|a| Strides::ALL.map(|b| (a, b))) {
        for (c, scale) in Strides::OF_C.into_iter().zip([(1.0, 0.0), (2.0, -1.0), (1.0, 1.0)]) {
            let way = Way { kernel, levels: 2, threads: 2 };
            way.check(Case::<f64>::new(shape, [a, b, c], scale));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too large for Miri")]
fn views_are_multiplied_into_views_of_any_strides() {
    let shape = Shape { m: 33, n: 18, k: 41 };
    let mut workspace = Workspace::default();
    for (c, levels) in Strides::WRITABLE.into_iter().flat_map(|c| [1, 2, 4].map(|l| (c, l))) {
        for scale in [(1.0, 0.0), (-1.0, 2.0)] {
            let strides = [Strides::ROWS, Strides::ROWS.turned(), c];
            let mut case = Case::<f64>::new(shape, strides, scale);
            let expected = case.expected();
            let Operands { a, b, mut c } = case.operands();
            let crew = Threads(2);
            multiply_halved(levels, scale, (&a, &b), &mut c, &crew, &mut workspace)
                .expect("memory");
            assert_eq!(case.c, expected, "{levels} levels {strides:?} {scale:?}");
        }
    }
}

/// The bits of a product of fractions, every thread of which pauses after so many of all slices.
fn bits<T: Number>(way: Way, shape: Shape, crew: &dyn Crew, pause_after: usize) -> Vec<u64> {
    let Shape { m, n, k } = shape;
    let (a, b, mut c) = (fractions(m * k, 1), fractions(k * n, 2), fractions::<T>(m * n, 3));
    let a = ArrayView2::from_shape((m, k), &a).expect("m k elements");
    let b = ArrayView2::from_shape((k, n), &b).expect("k n elements");
    let mut strassen = None;
    let slices = AtomicUsize::new(0);
    let pause = || (slices.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(pause_after);
    loop {
        let c = ArrayViewMut2::from_shape((m, n), &mut c).expect("m n elements");
        let operands = Operands { a, b, c };
        let strassen = strassen.get_or_insert_with(|| way.begin::<T>(operands.layout(), true).1);
        strassen.advance(operands, scale_of((0.7, -0.3)), crew, &pause);
        if strassen.is_complete() {
            break;
        }
    }
    c.into_iter().map(|element| element.into().to_bits()).collect()
}

#[test]
#[cfg_attr(miri, ignore = "too large for Miri")]
fn neither_threads_nor_pauses_change_a_bit() {
    let shape = Shape { m: 150, n: 203, k: 310 };
    for kernel in isas().into_iter().map(Kernel::Own) {
        for levels in 1..=2 {
            let way = |threads| Way { kernel, levels, threads };
            let alone = bits::<f64>(way(1), shape, &Alone, usize::MAX);
            for (threads, pause_after) in [(1, 1), (1, 7), (2, 1), (2, 5), (3, usize::MAX), (3, 2)]
            {
                let crew = Threads(threads);
                let shared = bits::<f64>(way(threads), shape, &crew, pause_after);
                assert!(shared == alone, "{kernel:?} {levels} {threads} {pause_after}");
            }
            let other = bits::<f64>(way(1), Shape { k: shape.k - 1, ..shape }, &Alone, usize::MAX);
            assert!(other != alone, "different terms have different sums");
        }
    }
}

/// Operands whose last rows and columns are a millionth of the first, as are the elements of C that
/// they make: the bound holds there, and the one of classical products does not.
#[test]
#[cfg_attr(miri, ignore = "too large for Miri")]
fn errors_are_within_their_bound_where_scales_differ() {
    let size = 64;
    for (kernel, levels) in isas()
        .into_iter()
        .map(Kernel::Own)
        .flat_map(|kernel| [1, 2, 3].map(|levels| (kernel, levels)))
    {
        let way = Way { kernel, levels, threads: 1 };
        let mut case = Case::<f64>::new(cube(size), [Strides::ROWS; 3], (0.7, 0.0));
        let scaled = |index: usize| if index < size / 2 { 1.0 } else { 1e-6 };
        let (a, b) = (fractions::<f64>(size * size, 1), fractions::<f64>(size * size, 2));
        let by_row = |(at, x): (usize, f64)| x * scaled(at / size);
        let by_column = |(at, x): (usize, f64)| x * scaled(at % size);
        let a: Vec<f64> = a.into_iter().enumerate().map(by_row).collect();
        let b: Vec<f64> = b.into_iter().enumerate().map(by_column).collect();
        (case.a, case.b) = (case.a.with(&a), case.b.with(&b));
        let exact = numbers::exactly(&case);
        let (layout, scale) = (case.layout(), case.scale);
        let (plan, mut strassen) = way.begin::<f64>(layout, false);
        strassen.advance(case.operands(), scale, &Alone, &|| false);
        let largest = |x: &[f64]| x.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
        let unit = 2f64.powi(-53) * 0.7 * largest(&a) * largest(&b);
        let error = |(c, exact): (&f64, &numbers::Exact)| (exact.error(*c), exact.bound);
        let errors: Vec<(f64, f64)> = case.c.view().iter().zip(&exact).map(error).collect();
        let worst = errors.iter().fold(0.0, |max: f64, (error, _)| max.max(*error));
        assert!(worst <= unit * plan.error_factor(), "{worst} {levels}");
        assert!(errors.iter().any(|(error, classical)| error > classical), "{kernel:?} {levels}");
    }
}

/// One wrong element of one sum shows, whichever level it is of.
#[test]
fn a_wrong_sum_is_caught() {
    for level in 0..2 {
        let way = Way { kernel: Kernel::Own(isa()), levels: 2, threads: 1 };
        let mut case = Case::<f64>::new(cube(16), [Strides::ROWS; 3], (1.0, 0.0));
        let (expected, layout, scale) = (case.expected(), case.layout(), case.scale);
        let (_, mut strassen) = way.begin::<f64>(layout, false);
        let mut is_spoilt = false;
        while !strassen.is_complete() {
            strassen.advance(case.operands(), scale, &Alone, &|| true);
            is_spoilt = is_spoilt || strassen.spoil(level);
        }
        assert!(is_spoilt && case.c != expected, "{level}");
    }
}

#[test]
fn only_large_products_are_halved_and_others_are_classical() {
    let levels = |m, n, k| Algorithm::StrassenWinograd.levels(Shape { m, n, k });
    assert_eq!(levels(300, 300, 300), 0);
    assert_eq!(levels(100_000, 100_000, 300), 0);
    assert!(levels(8192, 8192, 8192) > levels(2048, 8192, 8192));
    assert!(levels(2048, 8192, 8192) > 0);
    assert_eq!(Algorithm::Classical.levels(cube(8192)), 0);
    let shape = cube(300);
    assert_eq!(Algorithm::StrassenWinograd.executed_flops(shape), shape.flops());
    let large = cube(8192);
    assert!(Algorithm::StrassenWinograd.executed_flops(large) * 4 < large.flops() * 3);
    for algorithm in [Algorithm::Classical, Algorithm::StrassenWinograd] {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
}

/// By the recurrence: seven products of half the size, eight additions of operands and seven of
/// products.
#[test]
fn executed_operations_follow_the_recurrence() {
    fn of(Shape { m, n, k }: Shape, levels: usize) -> u64 {
        if levels == 0 {
            return 2 * (m * n * k) as u64;
        }
        let (m, n, k) = (m / 2, n / 2, k / 2);
        7 * of(Shape { m, n, k }, levels - 1) + (4 * m * k + 4 * k * n + 7 * m * n) as u64
    }
    for levels in 1..=4 {
        let whole = Shape { m: 48, n: 80, k: 112 };
        let plan = Plan { whole, levels, adds: false };
        assert_eq!(plan.executed_flops(), of(whole, levels));
        let odd = Shape { m: 49, ..whole };
        let plan = Plan { whole: odd, ..plan };
        assert_eq!(plan.executed_flops(), of(whole, levels) + 2 * (80 * 112));
    }
}

/// As jobs go: a product that owns its operands, large enough to be halved, in slices.
#[test]
#[cfg_attr(miri, ignore = "too large for Miri")]
fn a_product_says_what_it_allocates_and_executes() {
    let side = (1..)
        .map(|side| side * 256)
        .find(|side| Algorithm::StrassenWinograd.levels(cube(*side)) == 1);
    let shape = cube(side.expect("some size is halved"));
    let size = shape.m;
    let (a, b) = extents(shape, (true, false));
    let operands: Vec<f64> = integers(3 + 2 * size * size, 3);
    let c = alloc::vec![f64::NAN; size * size];
    let algorithm = Algorithm::StrassenWinograd;
    let made = Product::by_algorithm(algorithm, operands.clone(), (a, b), (1.0, 0.0), c.clone(), 2);
    let mut product = made.expect("memory");
    while !product.advance(&Threads(2), &|| true) {}
    assert_eq!(product.flops_done(), shape.flops());
    assert_eq!(product.executed_flops(), algorithm.executed_flops(shape));
    let Course::Strassen(strassen) = &product.course else { panic!("it is halved") };
    let promised = workspace_bytes_by::<f64>(algorithm, (a, b), false, 2);
    assert_eq!(strassen.workspace_bytes(), promised);
    let mut classical = Product::new(operands, (a, b), (1.0, 0.0), c, 2).expect("memory");
    classical.advance(&Threads(2), &|| false);
    assert!(product.into_result() == classical.into_result());
}
