//! What all tests of the multiply share: matrices in any layout, the definition to compare with,
//! the kernels that are here, and crews.
//!
//! Most compare small integers, whose sums are exact in f32: any difference is a defect. All that
//! multiply by a kernel of choice go through [`Parts`], as jobs do.
//!
//! Under Miri, which knows no assembly, run them for a target without it, and the large ones are
//! left out: `cargo miri test --lib gemm --target aarch64-unknown-linux-gnu`.

extern crate std;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io::Write as _;
use std::sync::OnceLock;

use ndarray::Array2;

use super::direct::{Direct, Order};
use super::five_loops::FiveLoops;
use super::parts::Way;
use super::plan::{Blocking, Choice};
use super::*;

mod blocks;
#[cfg(all(target_os = "linux", not(miri)))]
mod bounds;
mod laid;
mod numbers;
mod residual;
mod sharing;
mod strassen;
mod tiles;
mod views;

use laid::{Laid, Strides};

/// An element type of these tests.
trait Number: Element + Into<f64> + Debug {}

impl<T: Element + Into<f64> + Debug> Number for T {}

/// The instruction sets that this CPU has. Where the environment of the build names a set that must
/// be here (`GEMMULE_TEST_ISA=avx512`), its lack is a failure.
fn isas() -> Vec<Isa> {
    let must = option_env!("GEMMULE_TEST_ISA");
    let is_here = |isa: &Isa| {
        assert!(isa.is_here() || must != Some(isa.name()), "no {} here", isa.name());
        isa.is_here()
    };
    Isa::ALL.into_iter().filter(is_here).collect()
}

/// Straight to the standard error, which the test harness doesn't swallow.
#[test]
fn kernels_that_this_cpu_lacks_are_named() {
    let here = isas();
    assert!(here.contains(&Isa::Portable));
    for isa in Isa::ALL.into_iter().filter(|isa| !here.contains(isa)) {
        let said = writeln!(std::io::stderr(), "not exercised, this CPU has no {}", isa.name());
        said.expect("standard error");
    }
}

/// Pseudorandom numbers by Knuth's linear congruence, of which the upper bits are good.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0
    }

    /// From -8 to 7.
    fn integer(&mut self) -> f64 {
        (self.next() >> 60) as f64 - 8.0
    }

    /// From -1 to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// From `min` to `max`.
    fn size(&mut self, min: usize, max: usize) -> usize {
        min + (self.next() >> 33) as usize % (max - min + 1)
    }
}

fn integers<T: Element>(count: usize, seed: u64) -> Vec<T> {
    let mut random = Random(seed);
    (0..count).map(|_| T::from_f64(random.integer())).collect()
}

fn fractions<T: Element>(count: usize, seed: u64) -> Vec<T> {
    let mut random = Random(seed);
    (0..count).map(|_| T::from_f64(random.fraction())).collect()
}

/// The product by its definition, row by row.
fn definition<T: Element>(
    a: &ArrayView2<T>,
    b: &ArrayView2<T>,
    scale: Scale<T>,
    c: &ArrayView2<T>,
) -> Vec<T> {
    let n = b.ncols();
    let rows_of_b: Vec<T> = b.iter().copied().collect();
    let mut result = Vec::new();
    for (i, row) in a.outer_iter().enumerate() {
        let mut sums = alloc::vec![T::default(); n];
        for (p, factor) in row.iter().enumerate() {
            for (sum, element) in sums.iter_mut().zip(&rows_of_b[p * n..][..n]) {
                *sum = *sum + *factor * *element;
            }
        }
        result.extend(sums.iter().enumerate().map(|(j, sum)| {
            let kept = scale.beta == T::default();
            if kept { scale.alpha * *sum } else { scale.alpha * *sum + scale.beta * c[[i, j]] }
        }));
    }
    result
}

fn scale_of<T: Element>((alpha, beta): (f64, f64)) -> Scale<T> {
    Scale { alpha: T::from_f64(alpha), beta: T::from_f64(beta) }
}

/// The operands of a product of integers. Where beta is zero, C must not be read: it is NaN there.
struct Case<T> {
    shape: Shape,
    a: Laid<T>,
    b: Laid<T>,
    c: Laid<T>,
    scale: Scale<T>,
}

impl<T: Number> Case<T> {
    fn new(shape: Shape, [a, b, c]: [Strides; 3], scale: (f64, f64)) -> Self {
        let Shape { m, n, k } = shape;
        let c = Laid::integers((m, n), c, 11);
        let c = match scale.1 {
            0.0 => c.with(&alloc::vec![T::from_f64(f64::NAN); m * n]),
            _ => c,
        };
        Self {
            shape,
            a: Laid::integers((m, k), a, 7),
            b: Laid::integers((k, n), b, 5),
            c,
            scale: scale_of(scale),
        }
    }

    fn operands(&mut self) -> Operands<'_, T> {
        Operands { a: self.a.view(), b: self.b.view(), c: self.c.view_mut() }
    }

    fn layout(&mut self) -> Layout {
        self.operands().layout()
    }

    /// What C is to be, and what is around it.
    fn expected(&self) -> Laid<T> {
        let product = definition(&self.a.view(), &self.b.view(), self.scale, &self.c.view());
        self.c.with(&product)
    }

    /// Multiplies slice by slice, and demands what the definition says.
    fn check(mut self, plan: impl FnOnce(Layout) -> Parts<T>) {
        let expected = self.expected();
        let mut parts = plan(self.layout());
        let mut flops = 0;
        while !parts.is_complete() {
            let scale = self.scale;
            parts.advance(self.operands(), scale, &Alone, &|| true);
            assert!(parts.flops_done() >= flops);
            flops = parts.flops_done();
        }
        assert_eq!(flops, self.shape.flops(), "{:?}", self.shape);
        if self.c != expected {
            let Self { shape, a, b, c, scale } = &self;
            let strides = [a.strides, b.strides, c.strides];
            panic!("{shape:?} {strides:?} {scale:?}\n{parts:?}\n{c:?}\nis to be\n{expected:?}");
        }
    }
}

/// Whether a case of many is checked. Under Miri, which is a thousand times slower, every 41st is;
/// and where the environment says `GEMMULE_TEST_EVERY=N`, as on an emulated processor, every Nth.
fn is_taken() -> bool {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    static EVERY: OnceLock<usize> = OnceLock::new();
    let every = *EVERY.get_or_init(|| match std::env::var("GEMMULE_TEST_EVERY") {
        Ok(every) => every.parse().expect("GEMMULE_TEST_EVERY is a number"),
        Err(_) if cfg!(miri) => 41,
        Err(_) => 1,
    });
    CASES.fetch_add(1, Ordering::Relaxed).is_multiple_of(every)
}

/// Checks a case, if it is taken.
fn check<T: Number>(
    shape: Shape,
    strides: [Strides; 3],
    scale: (f64, f64),
    plan: impl FnOnce(Layout) -> Parts<T>,
) {
    if is_taken() {
        Case::new(shape, strides, scale).check(plan);
    }
}

/// As a job is planned: for so many threads.
fn planned<T: Element>(kernel: Kernel, threads: usize) -> impl Fn(Layout) -> Parts<T> {
    move |layout| {
        Parts::new(kernel, caches(), layout, threads, &mut Workspace::default()).expect("memory")
    }
}

/// All rows in one block, two blocks of B.
const BLOCKING: Blocking = Blocking {
    mc: usize::MAX,
    kc: 4,
    nc: 0,
    is_terms_first: true,
    packs_a: false,
    blocks: 2,
    fetches_c_to_add: true,
    fetches_c: true,
    streams: false,
};

/// By the five loops, whatever the size.
fn by_five_loops<T: Element>(
    kernel: &'static Microkernel<T>,
    blocking: Blocking,
) -> impl Fn(Layout) -> Parts<T> {
    move |layout| {
        let loops = FiveLoops::new(kernel, layout.shape, blocking, Vec::new()).expect("memory");
        Parts::of_way(layout.shape, Way::FiveLoops(loops))
    }
}

/// Directly, in blocks of so many rows and terms.
fn directly<T: Element>(
    kernel: &'static Microkernel<T>,
    block: (usize, usize),
    order: Order,
) -> impl Fn(Layout) -> Parts<T> {
    move |layout| {
        let direct = Direct::new(kernel, layout.shape, block, order);
        Parts::of_way(layout.shape, Way::Direct(direct))
    }
}

/// A kernel whose slices are as small as they can be.
fn in_small_slices<T: Element>(kernel: &Microkernel<T>) -> &'static Microkernel<T> {
    Box::leak(Box::new(Microkernel { slice_flops: 1, ..*kernel }))
}

/// Caches in which small products fill many blocks.
const SMALL_CACHES: Caches =
    Caches { l1_bytes: 16 << 10, l2_bytes: 64 << 10, are_best_bypassed: true };

const fn cube(size: usize) -> Shape {
    Shape { m: size, n: size, k: size }
}

/// Zero, one, and one either side of `size`.
fn around(size: usize) -> impl Iterator<Item = usize> + Clone {
    [0, 1, 2, 3, size - 1, size, size + 1, 2 * size - 1, 2 * size, 2 * size + 1].into_iter()
}

/// A product's operands within one buffer, behind a gap.
fn extents(shape: Shape, (transposed_a, transposed_b): (bool, bool)) -> (Extent, Extent) {
    let Shape { m, n, k } = shape;
    let (rows, columns) = if transposed_a { (k, m) } else { (m, k) };
    let a = Extent { start: 3, rows, columns, transposed: transposed_a };
    let (rows, columns) = if transposed_b { (n, k) } else { (k, n) };
    (a, Extent { start: 3 + m * k, rows, columns, transposed: transposed_b })
}

const TRANSPOSES: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// A thread for each part.
struct Threads(usize);

impl Crew for Threads {
    fn threads(&self, _: u64) -> usize {
        self.0
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for part in 0..parts {
                scope.spawn(move || work(part));
            }
        });
    }
}

/// One thread that does the last part first, and counts the parts.
#[derive(Default)]
struct Backwards {
    parts: AtomicUsize,
}

impl Crew for Backwards {
    fn threads(&self, _: u64) -> usize {
        1
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        self.parts.fetch_add(parts, Ordering::Relaxed);
        (0..parts).rev().for_each(work);
    }
}
