//! Slices, threads and pauses: none of them changes a bit of the result.

use super::*;

/// What a product is made of.
#[derive(Clone, Copy, Debug)]
struct Task {
    kernel: Kernel,
    caches: Caches,
    shape: Shape,
    transposes: (bool, bool),
    threads: usize,
}

impl Task {
    fn product<T: Number>(self) -> Product<T> {
        let (a, b) = extents(self.shape, self.transposes);
        let Shape { m, n, k } = self.shape;
        let operands = fractions(3 + m * k + k * n, 5);
        let parts = Parts::new(
            self.kernel,
            self.caches,
            layout_of(a, b),
            self.threads,
            &mut Workspace::default(),
        );
        let scale = scale_of((0.7, -0.3));
        let course = Course::Classical(parts.expect("memory"));
        Product::by(course, operands, (a, b), scale, fractions(m * n, 6))
    }

    /// The bits of the result, where every thread pauses after so many of all slices.
    fn bits<T: Number>(self, crew: &dyn Crew, pause_after: usize) -> Vec<u64> {
        let mut product = self.product::<T>();
        let slices = AtomicUsize::new(0);
        let pause = || (slices.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(pause_after);
        while !product.advance(crew, &pause) {}
        assert_eq!(product.flops_done(), self.shape.flops(), "{self:?}");
        product.into_result().into_iter().map(|element| element.into().to_bits()).collect()
    }
}

/// In small caches, these take every way; some in more than one block, and some another way once
/// they are shared.
const SHAPES: [Shape; 12] = [
    Shape { m: 9, n: 17, k: 11 },
    Shape { m: 70, n: 150, k: 90 },
    Shape { m: 35, n: 60, k: 600 },
    Shape { m: 9, n: 400, k: 130 },
    Shape { m: 130, n: 250, k: 6 },
    Shape { m: 40, n: 30, k: 50 },
    Shape { m: 2, n: 3, k: 700 },
    Shape { m: 333, n: 1, k: 257 },
    Shape { m: 1, n: 333, k: 257 },
    Shape { m: 101, n: 1, k: 3 },
    Shape { m: 1, n: 101, k: 3 },
    Shape { m: 90, n: 90, k: 0 },
];

/// Those that are here, and the fallback, of whose intrinsics Miri does not know all.
fn kernels() -> Vec<Kernel> {
    let fallback = (!cfg!(miri)).then_some(Kernel::Matrixmultiply);
    isas().into_iter().map(Kernel::Own).chain(fallback).collect()
}

fn every_task(kernel: Kernel) -> impl Iterator<Item = Task> {
    SHAPES
        .into_iter()
        .flat_map(move |shape| {
            let task = Task {
                kernel,
                caches: SMALL_CACHES,
                shape,
                transposes: (false, false),
                threads: 1,
            };
            TRANSPOSES.map(|transposes| Task { transposes, ..task })
        })
        .filter(|task| !cfg!(miri) || task.shape.flops() < 1 << 12)
}

#[test]
fn threads_and_slices_change_no_bit() {
    fn check<T: Number>(task: Task) {
        let alone = task.bits::<T>(&Alone, usize::MAX);
        for threads in [2, 3, 4, 7] {
            let task = Task { threads, ..task };
            let crews: [(&dyn Crew, usize); 3] =
                [(&Alone, 2), (&Backwards::default(), 1), (&Threads(threads), 3)];
            for (crew, pause_after) in crews {
                let shared = task.bits::<T>(crew, pause_after);
                let different = alone.iter().zip(&shared).position(|(one, other)| one != other);
                assert_eq!(different, None, "{task:?} {:?}", T::DTYPE);
            }
        }
    }
    for task in kernels().into_iter().flat_map(every_task) {
        check::<f64>(task);
        check::<f32>(task);
    }
}

/// Else the test above would not show what it says.
#[test]
#[cfg_attr(miri, ignore = "Miri shares the smallest only")]
fn the_shapes_that_are_shared_take_every_way_in_many_parts() {
    let mut seen = [0; 5];
    let mut most = 0;
    for task in isas().into_iter().map(Kernel::Own).flat_map(every_task) {
        let product = Task { threads: 7, ..task }.product::<f64>();
        let parts = product.parts();
        for way in parts.ways() {
            seen[match way {
                Way::Scaling(_) => 0,
                Way::MatrixVector(_) => 1,
                Way::VectorMatrix(_) => 2,
                Way::Direct(_) => 3,
                Way::FiveLoops(_) => 4,
                Way::Reference(_) => panic!("nobody asked for the fallback"),
            }] += 1;
        }
        let count = parts.ways().count();
        assert!(count <= 7);
        most = most.max(count);
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    assert_eq!(most, 7);
}

/// With the caches of this machine, at sizes of many slices.
#[test]
#[cfg_attr(miri, ignore = "too large")]
fn slicing_large_products_changes_no_bit() {
    let shapes = [
        Shape { m: 100, n: 150, k: 600 },
        Shape { m: 300, n: 1, k: 5000 },
        Shape { m: 1, n: 3000, k: 500 },
        Shape { m: 300, n: 700, k: 1030 },
    ];
    let kernel = Kernel::of_this_machine();
    for (shape, transposes) in
        shapes.into_iter().flat_map(|shape| TRANSPOSES.map(|both| (shape, both)))
    {
        let task = Task { kernel, caches: caches(), shape, transposes, threads: 1 };
        let whole = task.bits::<f64>(&Alone, usize::MAX);
        for pause_after in [1, 2, 5] {
            assert_eq!(task.bits::<f64>(&Alone, pause_after), whole, "{task:?}");
        }
        let task = Task { threads: 2, ..task };
        assert_eq!(task.bits::<f64>(&Threads(2), 3), whole, "{task:?}");
    }
}

#[test]
fn threads_share_the_rows_of_a_small_product_where_all_get_as_many() {
    let kernel = f64::microkernel(isa());
    let mr = kernel.mr;
    assert_eq!(shared_rows(kernel, 12 * mr, 2), Some(6 * mr));
    assert_eq!(shared_rows(kernel, 12 * mr, 3), Some(4 * mr));
    // The last one's last tile may be lower.
    assert_eq!(shared_rows(kernel, 64 * mr - 1, 2), Some(32 * mr));
    assert_eq!(shared_rows(kernel, 3 * mr, 2), None);
    assert_eq!(shared_rows(kernel, 12 * mr, 5), None);
    assert_eq!(shared_rows(kernel, 1, 2), None);
}

/// C t against A (B t), exactly, at sizes with many blocks.
#[test]
#[cfg_attr(miri, ignore = "too large")]
fn large_products_map_vectors_as_their_factors_do() {
    let apply = |matrix: ArrayView2<f64>, vector: &[f64]| -> Vec<f64> {
        let dot = |row: ndarray::ArrayView1<f64>| row.iter().zip(vector).map(|(x, y)| x * y).sum();
        matrix.outer_iter().map(dot).collect()
    };
    let shapes = [
        Shape { m: 203, n: 1031, k: 1029 },
        Shape { m: 40, n: 2500, k: 300 },
        // 16 MiB of C, which is written past the caches where that is best and it lies right.
        Shape { m: 1030, n: 2072, k: 9 },
    ];
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
            let course = Course::Classical(planned(Kernel::Own(isa), 2)(layout_of(a, b)));
            let scale = scale_of((1.0, 0.0));
            let mut product = Product::by(course, operands.clone(), (a, b), scale, c);
            while !product.advance(&Threads(2), &|| true) {}
            let found = ArrayView2::from_shape((m, n), &product.c).expect("m n elements");
            assert_eq!(apply(found, &vector), wanted, "{shape:?} {isa:?}");
        }
    }
}

/// A pause that is always due lets each part do one slice, a bounded number of times.
#[test]
fn a_pause_stops_every_part_after_its_slice_and_the_product_ends() {
    for (task, threads) in
        kernels().into_iter().flat_map(every_task).flat_map(|task| [(task, 1), (task, 3)])
    {
        let mut product = Task { threads, ..task }.product::<f64>();
        let parts = product.parts().ways().count();
        let (mut calls, mut flops) = (0, 0);
        loop {
            let left = product.parts().ways().filter(|way| !way.is_complete()).count();
            let asked = AtomicUsize::new(0);
            let is_complete = product.advance(&Threads(threads), &|| {
                asked.fetch_add(1, Ordering::Relaxed);
                true
            });
            assert_eq!(asked.into_inner(), left, "{task:?}");
            assert!(product.flops_done() >= flops);
            flops = product.flops_done();
            if is_complete {
                break;
            }
            // Slices of one panel of B and of one row of tiles would be fewer.
            calls += 1;
            assert!(calls < 1000, "no end of {task:?}");
        }
        assert_eq!(flops, task.shape.flops());
        assert!(parts <= threads);
        // What is complete stays so, and nobody is asked.
        let again = product.advance(&Threads(threads), &|| panic!("nothing is left to pause"));
        assert!(again && product.flops_done() == flops);
    }
}

/// A product that is dropped between slices has finished none that it reported unfinished, and
/// whoever was told to stop has: its buffers go with it.
#[test]
#[cfg_attr(miri, ignore = "too large")]
fn a_product_may_be_dropped_between_slices() {
    let task = Task {
        kernel: Kernel::of_this_machine(),
        caches: SMALL_CACHES,
        shape: Shape { m: 70, n: 150, k: 90 },
        transposes: (false, true),
        threads: 3,
    };
    struct Watched {
        crew: Threads,
        at_work: AtomicUsize,
    }
    impl Crew for Watched {
        fn threads(&self, flops: u64) -> usize {
            self.crew.threads(flops)
        }
        fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
            self.crew.run(parts, &|part| {
                self.at_work.fetch_add(1, Ordering::SeqCst);
                work(part);
                self.at_work.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }
    let crew = Watched { crew: Threads(3), at_work: AtomicUsize::new(0) };
    let mut product = task.product::<f64>();
    for slices in 1.. {
        let is_complete = product.advance(&crew, &|| true);
        assert_eq!(crew.at_work.load(Ordering::SeqCst), 0);
        if is_complete {
            assert!(slices > 1, "too small for this test");
            break;
        }
        assert!(product.flops_done() < task.shape.flops());
        let mut dropped = task.product::<f64>();
        for _ in 0..slices {
            dropped.advance(&crew, &|| true);
        }
    }
}

/// Who finds a part in use leaves it alone.
#[test]
fn a_part_has_one_user_at_a_time() {
    let part = crew::Exclusive::new(1);
    part.with(|value| {
        part.with(|_| panic!("two users"));
        *value += 1;
    });
    part.with(|value| *value *= 10);
    assert_eq!(part.into_inner(), 20);
}
