//! Views of any strides, by the kernel of this machine.

use ndarray::{Array3, Axis, s};

use super::*;

/// Multiplies by the public function, and demands what the definition says, if the case is taken.
fn check_view<T: Number>(shape: Shape, strides: [Strides; 3], scale: (f64, f64), crew: &dyn Crew) {
    if !is_taken() {
        return;
    }
    let mut case = Case::<T>::new(shape, strides, scale);
    let expected = case.expected();
    let Scale { alpha, beta } = case.scale;
    let (a, b) = (case.a.view(), case.b.view());
    multiply(alpha, &a, &b, beta, &mut case.c.view_mut(), crew, &mut Workspace::default())
        .expect("memory");
    let c = case.c;
    assert!(c == expected, "{shape:?} {strides:?} {scale:?}\n{c:?}\nis to be\n{expected:?}");
}

/// Each of the three in any layout.
#[test]
fn views_of_any_strides_are_multiplied_exactly() {
    let all = Strides::ALL;
    let small =
        [Shape { m: 3, n: 5, k: 7 }, Shape { m: 1, n: 5, k: 6 }, Shape { m: 9, n: 1, k: 5 }];
    for c in Strides::WRITABLE {
        for (a, b) in all.into_iter().flat_map(|a| all.map(|b| (a, b))) {
            for shape in small {
                check_view::<f64>(shape, [a, b, c], (1.0, 0.0), &Alone);
                check_view::<f32>(shape, [a, b, c], (-1.0, 2.0), &Alone);
            }
        }
    }
}

/// More than the 64 rows, columns and terms that are multiplied without a plan.
#[test]
#[cfg_attr(miri, ignore = "too large")]
fn large_views_of_any_strides_are_multiplied_exactly() {
    let shape = Shape { m: 65, n: 71, k: 67 };
    let vectors = [Shape { m: 1, ..shape }, Shape { n: 1, ..shape }];
    for c in Strides::WRITABLE {
        for (a, b) in Strides::ALL.into_iter().flat_map(|a| Strides::ALL.map(|b| (a, b))) {
            check_view::<f64>(shape, [a, b, c], (1.0, 0.0), &Alone);
            for shape in vectors {
                check_view::<f64>(shape, [a, b, c], (1.0, 1.0), &Alone);
                check_view::<f32>(shape, [a, b, c], (2.0, 0.0), &Alone);
            }
        }
    }
}

#[test]
fn sizes_from_nothing_to_beyond_the_tiny_are_multiplied_exactly() {
    let sizes: &[usize] = if cfg!(miri) { &[0, 1, 9] } else { &[0, 1, 2, 16, 63, 64, 65, 66] };
    for (m, n) in sizes.iter().flat_map(|m| sizes.iter().map(|n| (*m, *n))) {
        for &k in sizes {
            for (c, threads) in [(Strides::ROWS, 1), (Strides::STEPS, 3), (Strides::GAPS, 2)] {
                let shape = Shape { m, n, k };
                let strides = [Strides::GAPS, Strides::ROWS, c];
                check_view::<f64>(shape, strides, (1.0, 0.0), &Threads(threads));
                check_view::<f32>(shape, strides, (0.5, -1.0), &Threads(threads));
            }
        }
    }
}

/// By threads, a product is cut, and its result transposed or copied.
#[test]
#[cfg_attr(miri, ignore = "too large")]
fn a_crew_multiplies_views_exactly() {
    let shapes = [Shape { m: 150, n: 130, k: 70 }, Shape { m: 1, n: 700, k: 80 }];
    for (c, shape) in Strides::WRITABLE.into_iter().flat_map(|c| shapes.map(|shape| (c, shape))) {
        for threads in [2, 3, 7] {
            let strides = [Strides::STEPS, Strides::ROWS, c];
            check_view::<f64>(shape, strides, (1.0, 2.0), &Threads(threads));
            let strides = [Strides::ROWS, Strides::MIRRORED, c];
            check_view::<f32>(shape, strides, (1.0, 0.0), &Threads(threads));
            check_view::<f32>(shape, strides, (1.0, 0.0), &Backwards::default());
        }
    }
}

/// A mistake of the caller's is not computed.
#[test]
fn shapes_that_do_not_go_together_are_refused() {
    for (a, b, c) in [((2, 3), (4, 5), (2, 5)), ((2, 3), (3, 5), (2, 4)), ((2, 3), (3, 5), (3, 5))]
    {
        let run = std::panic::catch_unwind(|| {
            let (a, b) = (Array2::<f64>::zeros(a), Array2::zeros(b));
            multiply(
                1.0,
                &a.view(),
                &b.view(),
                0.0,
                &mut Array2::zeros(c).view_mut(),
                &Alone,
                &mut Workspace::default(),
            )
        });
        assert!(run.is_err(), "{a:?} times {b:?} to {c:?}");
    }
}

/// Batches in order, and with the last two axes of the operands or the result exchanged.
#[test]
fn batches_are_multiplied_as_their_members_are() {
    fn operand<T: Number>(count: usize, size: (usize, usize), turned: bool) -> Array3<T> {
        let (rows, columns) = if turned { (size.1, size.0) } else { size };
        let elements = integers(count * rows * columns, (rows + columns) as u64);
        let stack = Array3::from_shape_vec((count, rows, columns), elements);
        let mut stack = stack.expect("as many elements");
        if turned {
            stack.swap_axes(1, 2);
        }
        stack
    }
    fn check_batch<T: Number>(
        count: usize,
        shape: Shape,
        turned: (bool, bool, bool),
        threads: usize,
    ) {
        let Shape { m, n, k } = shape;
        let a = operand::<T>(count, (m, k), turned.0);
        let b = operand::<T>(count, (k, n), turned.1);
        for scale in [(1.0, 0.0), (-2.0, 3.0)] {
            let scale = scale_of::<T>(scale);
            // Every other member of a larger stack, so that there are gaps.
            let mut stack = operand::<T>(2 * count, (m, n), turned.2);
            let mut expected = stack.clone();
            for (index, mut c) in expected.axis_iter_mut(Axis(0)).step_by(2).enumerate() {
                let (a, b) = (a.index_axis(Axis(0), index), b.index_axis(Axis(0), index));
                let product = definition(&a, &b, scale, &c.view());
                c.assign(&ArrayView2::from_shape((m, n), &product).expect("as many elements"));
            }
            let mut c = stack.slice_mut(s![..;2, .., ..]);
            let Scale { alpha, beta } = scale;
            let crew = Threads(threads);
            multiply_batch(alpha, &a.view(), &b.view(), beta, &mut c, &crew).expect("memory");
            assert!(stack == expected, "{count} of {shape:?} {turned:?} by {threads}");
        }
    }
    let sizes: &[usize] = if cfg!(miri) { &[0, 1, 5] } else { &[0, 1, 16, 65] };
    for (count, threads) in [0, 1, 2, 7].into_iter().flat_map(|count| [1, 3].map(|t| (count, t))) {
        for &size in sizes {
            for turned in [(false, false, false), (true, true, false), (false, false, true)] {
                check_batch::<f64>(count, cube(size), turned, threads);
                check_batch::<f32>(count, cube(size), turned, threads);
            }
        }
        check_batch::<f64>(count, Shape { m: 3, n: 1, k: 9 }, (false, true, true), threads);
        check_batch::<f32>(count, Shape { m: 1, n: 4, k: 0 }, (true, false, false), threads);
    }
}

/// One A for all of the batch, and the batch of B from its end.
#[test]
fn batches_of_any_strides_are_multiplied_exactly() {
    for (count, size) in [(5, 4), (3, if cfg!(miri) { 5 } else { 70 })] {
        let one = Laid::<f64>::integers((size, size), Strides::GAPS, 1);
        let one = one.view();
        let a = one.broadcast((count, size, size)).expect("one for all");
        let elements = integers::<f64>(count * size * size, 2);
        let b = Array3::from_shape_vec((count, size, size), elements).expect("as many elements");
        let mut c = Array3::from_elem((count, size, size), f64::NAN);
        let backwards = b.slice(s![..;-1, .., ..]);
        let crew = Threads(2);
        multiply_batch(1.0, &a, &backwards, 0.0, &mut c.slice_mut(s![..;-1, .., ..]), &crew)
            .expect("memory");
        for (b, c) in b.outer_iter().zip(c.outer_iter()) {
            let product = definition(&one, &b, scale_of((1.0, 0.0)), &c);
            assert!(c.iter().eq(&product));
        }
    }
}

/// Whether a product is planned or not: without a plan, it is for one thread, or shared by equal
/// numbers of rows. Vectors are left out: a crew that shared such short ones would sum them in
/// another order.
#[test]
#[cfg_attr(miri, ignore = "too many")]
fn a_crew_changes_no_bit_of_what_needs_no_plan() {
    fn check_bits<T: Number>(shape: Shape, strides: [Strides; 3]) {
        let Shape { m, n, k } = shape;
        let [a, b, c] = strides;
        let (a, b) = (Laid::<T>::fractions((m, k), a, 1), Laid::fractions((k, n), b, 2));
        let before = Laid::<T>::fractions((m, n), c, 3);
        let bits = |threads: usize| -> Vec<u64> {
            let mut c = before.clone();
            let Scale { alpha, beta } = scale_of((0.7, -0.3));
            let crew = Threads(threads);
            multiply(
                alpha,
                &a.view(),
                &b.view(),
                beta,
                &mut c.view_mut(),
                &crew,
                &mut Workspace::default(),
            )
            .expect("memory");
            c.view().iter().map(|element| (*element).into().to_bits()).collect()
        };
        let alone = bits(1);
        for threads in [2, 3] {
            let shared = bits(threads);
            let different = alone.iter().zip(&shared).position(|(one, other)| one != other);
            assert_eq!(different, None, "{shape:?} {strides:?} by {threads}, {:?}", T::DTYPE);
        }
    }
    let lengths = [2, 17, 64, 65, 200, 256, 257];
    for (m, n) in lengths.into_iter().flat_map(|m| lengths.map(|n| (m, n))) {
        for k in [1, 5, 63, 64, 65, 150, 256, 257, 600] {
            let [rows, turned] = [Strides::ROWS, Strides::ROWS.turned()];
            for strides in [[rows, rows, rows], [turned, rows, rows], [rows, turned, turned]] {
                check_bits::<f64>(Shape { m, n, k }, strides);
                check_bits::<f32>(Shape { m, n, k }, strides);
            }
        }
    }
}
