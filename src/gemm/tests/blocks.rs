//! The five loops: every blocking, packing on the way, writing past the caches.

use super::*;

/// The sizes around blocks of so many rows (or tiles), columns and terms.
#[test]
fn every_blocking_is_exact_around_its_blocks() {
    fn check_blocking<T: Number>(isa: Isa, blocking: Blocking) {
        let kernel = T::microkernel(isa);
        let (mr, nr) = (kernel.mr, kernel.nr);
        let Blocking { kc, nc, .. } = blocking;
        let plan = by_five_loops(kernel, blocking);
        for m in [1, 2, mr - 1, mr, mr + 1, 2 * mr + 1] {
            for k in [1, kc - 1, kc, kc + 1, 2 * kc, 2 * kc + 1] {
                for n in [1, 2, nr, nc - 1, nc, nc + 1, 2 * nc + 1] {
                    let shape = Shape { m, n, k };
                    let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
                    let turned = rows.turned();
                    check(shape, [rows, rows, rows], (1.0, 0.0), &plan);
                    check(shape, [turned, turned, gaps], (-1.0, 2.0), &plan);
                }
            }
        }
    }
    let blockings = [(false, 1), (true, 1), (false, 2), (true, 2)];
    for (isa, (packs_a, blocks)) in
        isas().into_iter().flat_map(|isa| blockings.map(|blocking| (isa, blocking)))
    {
        // Blocks of so many tiles of rows, one after the other over all columns, or all rows.
        for (tiles, is_terms_first) in
            [(None, true), (None, false), (Some(1), false), (Some(2), false)]
        {
            let rows = |mr: usize| tiles.map_or(usize::MAX, |tiles: usize| tiles * mr);
            let blocking = Blocking {
                is_terms_first,
                packs_a,
                blocks,
                streams: packs_a,
                fetches_c: !packs_a,
                ..BLOCKING
            };
            let Microkernel { mr, nr, .. } = *f64::microkernel(isa);
            check_blocking::<f64>(isa, Blocking { mc: rows(mr), nc: 2 * nr, ..blocking });
            let Microkernel { mr, nr, .. } = *f32::microkernel(isa);
            check_blocking::<f32>(isa, Blocking { mc: rows(mr), nc: nr, kc: 5, ..blocking });
        }
    }
}

/// A block is copied by the tiles of the one before, a piece with every four terms: too few rows
/// leave some for the packing between slices, and enough of them copy it all.
#[test]
#[cfg_attr(miri, ignore = "the portable kernel copies nothing")]
fn blocks_are_packed_on_the_way_whole_or_in_part() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let (mr, nr, lanes) = (kernel.mr, kernel.nr, kernel.lanes);
        let nc = 3 * nr;
        let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
        for kernel in [kernel, in_small_slices(kernel)] {
            let orders = [(usize::MAX, true), (usize::MAX, false), (4 * mr, false), (mr, false)];
            for (kc, (mc, is_terms_first)) in
                [4, 6, 11].into_iter().flat_map(|kc| orders.map(|order| (kc, order)))
            {
                let blocking = Blocking { mc, kc, nc, is_terms_first, ..BLOCKING };
                for m in [mr - 1, mr, 3 * mr + 1, 4 * mr, 5 * mr, 9 * mr + 1] {
                    // The last block is as wide as the others, narrower, or ends in panels that
                    // share what is left. Of two panels, a slice copies one and a half rows.
                    let crumbs = [nr + 1, nr + lanes, nr + lanes + 1, 2 * nr + lanes + 1];
                    for last in [1, nr - 1, nr, 2 * nr, nc].into_iter().chain(crumbs) {
                        let shape = Shape { m, n: 2 * nc + last, k: 2 * kc + 3 };
                        let plan = by_five_loops(kernel, blocking);
                        check::<T>(shape, [rows, gaps, rows], (1.0, 0.0), plan);
                    }
                    let shape = Shape { m, n: nc + nr, k: kc + 1 };
                    for b in [rows, Strides::UPSIDE_DOWN, Strides::SAME_ROWS] {
                        let plan = by_five_loops(kernel, Blocking { packs_a: true, ..blocking });
                        check::<T>(shape, [gaps, b, gaps], (2.0, -1.0), plan);
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

/// Where C is fetched, tiles of many terms do that with the first of them, and others before.
#[test]
fn sums_are_exact_where_c_is_fetched_with_their_terms() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let (m, n) = (2 * kernel.mr + 1, 3 * kernel.nr + 1);
        for (kc, blocks) in
            [92, 96, 97, 99, 100, 101, 104, 203].into_iter().flat_map(|kc| [(kc, 1), (kc, 2)])
        {
            let plan =
                by_five_loops(kernel, Blocking { kc, nc: 2 * kernel.nr, blocks, ..BLOCKING });
            for k in [kc, 2 * kc, 2 * kc + 99] {
                let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
                check(Shape { m, n, k }, [rows, rows, rows], (1.0, 0.0), &plan);
                check(Shape { m, n, k }, [rows.turned(), gaps, gaps], (-1.0, 2.0), &plan);
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

/// C on boundaries of whole vectors is written past the caches. Where it isn't, such a store would
/// fault.
#[test]
fn results_are_written_past_the_caches_only_where_they_lie_right() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let (mr, nr, lanes) = (kernel.mr, kernel.nr, kernel.lanes);
        let blocking = Blocking { kc: 8, nc: 2 * nr, streams: true, ..BLOCKING };
        let line = 64 / size_of::<T>();
        let strides = [Strides::ROWS; 3];
        let mut aligned = 0;
        for (n, m) in [nr, 2 * nr, 3 * nr + lanes, 4 * nr + 2 * lanes, 2 * nr + lanes + 1]
            .into_iter()
            .flat_map(|n| [1, mr, 2 * mr + 1].map(|m| (n, m)))
        {
            for ((shift, k), scale) in (0..line)
                .flat_map(|shift| [3, 8, 17].map(|k| (shift, k)))
                .flat_map(|case| [(1.0, 0.0), (-2.0, 0.0), (1.0, 1.0)].map(|scale| (case, scale)))
            {
                let mut case = Case::<T>::new(Shape { m, n, k }, strides, scale);
                let expected = case.expected();
                let layout = case.layout();
                let mut parts = by_five_loops(kernel, blocking)(layout);
                // C within a buffer of rows that are whole lines, from some element of a line on;
                // or only the first row starts with a line.
                let gap = if shift == 0 && k == 3 { 1 } else { line };
                let row_stride = n.next_multiple_of(line) + gap;
                let guard = T::from_f64(77.5);
                let mut buffer = alloc::vec![guard; m * row_stride + 2 * line];
                let first = buffer.as_ptr().align_offset(64).min(line) + shift;
                let part = &mut buffer[first..][..m * row_stride];
                let shape = ndarray::ShapeBuilder::strides((m, n), [row_stride, 1].into());
                let mut c = ArrayViewMut2::from_shape(shape, part).expect("long enough");
                c.assign(&case.c.view());
                aligned += usize::from(c.as_ptr().addr().is_multiple_of(64));
                while !parts.is_complete() {
                    let operands = Operands { a: case.a.view(), b: case.b.view(), c: c.view_mut() };
                    parts.advance(operands, case.scale, &Alone, &|| true);
                }
                assert_eq!(c, expected.view(), "{m} x {n} x {k} from {shift}");
                c.fill(guard);
                assert!(buffer.iter().all(|element| *element == guard));
            }
        }
        assert!(aligned > 0 || cfg!(miri), "no C was aligned");
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

#[test]
#[cfg_attr(miri, ignore = "no code of ours is below ndarray")]
fn the_fallback_is_exact_around_its_tiles() {
    use super::super::reference::{KC, MC, NC};
    let either_side = |size: usize| [size - 1, size, size + 1];
    let shapes = [0, 1, 2, 7]
        .map(cube)
        .into_iter()
        .chain(either_side(MC).map(|m| Shape { m, n: 5, k: 9 }))
        .chain(either_side(NC).map(|n| Shape { m: 5, n, k: 9 }))
        .chain(either_side(KC).map(|k| Shape { m: 5, n: 9, k }))
        .chain([Shape { m: 2 * MC + 1, n: NC + 1, k: KC + 1 }]);
    for shape in shapes {
        let [rows, gaps] = [Strides::ROWS, Strides::GAPS];
        for (scale, threads) in [((1.0, 0.0), 1), ((-2.0, 3.0), 2), ((0.0, 1.0), 3)] {
            let turned = rows.turned();
            let plan = planned(Kernel::Matrixmultiply, threads);
            check::<f64>(shape, [rows, rows, rows], scale, plan);
            let plan = planned(Kernel::Matrixmultiply, threads);
            check::<f32>(shape, [turned, turned, gaps], scale, plan);
        }
    }
}

fn layout(shape: Shape, transposes: (bool, bool)) -> Layout {
    let (a, b) = extents(shape, transposes);
    layout_of(a, b)
}

/// Blocks for every cache that a CPU may claim stay within a slice, and hold what they must.
#[test]
fn blocks_are_sane_where_cpuid_is_not() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let shapes = [
            cube(2),
            cube(4096),
            Shape { m: 2, n: 1 << 24, k: 1 },
            Shape { m: 1 << 20, n: 3, k: 1 << 20 },
        ];
        for l1_bytes in [16 << 10, 32 << 10, 48 << 10, 256 << 10] {
            for l2_bytes in [128 << 10, 256 << 10, 1 << 20, 2 << 20, 16 << 20] {
                for (shape, transposes) in
                    shapes.into_iter().flat_map(|shape| TRANSPOSES.map(|both| (shape, both)))
                {
                    let caches = Caches { l1_bytes, l2_bytes, are_best_bypassed: true };
                    let kc = plan::block_terms(kernel, caches, shape);
                    let blocking = Blocking::new(kernel, caches, kc, layout(shape, transposes));
                    let Blocking { mc, nc, blocks, .. } = blocking;
                    assert!(mc > 0 && (mc >= shape.m || mc % kernel.mr == 0));
                    assert!(kc > 0 && kc % 4 == 0 && nc > 0 && nc % kernel.nr == 0);
                    assert!(blocks == 1 || kernel.copying.is_some());
                    // The rows of one microtile are no more than a slice.
                    assert!(2 * kernel.mr * nc * kc <= kernel.slice_flops, "{caches:?} {shape:?}");
                    let is_least = nc == kernel.nr;
                    let block_bytes = blocking.block_of_b() * size_of::<T>();
                    assert!(is_least || block_bytes <= l2_bytes / 4 * 3, "{caches:?} {shape:?}");
                    let mc = plan::direct_rows(kernel, caches, kc, shape);
                    assert!(mc > 0 && mc % kernel.mr == 0);
                }
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}

/// What fits a cache is used as it lies, but not where its rows lose their places to each other.
#[test]
fn rows_that_crowd_the_cache_are_packed() {
    let caches = Caches { l1_bytes: 48 << 10, l2_bytes: 2 << 20, are_best_bypassed: true };
    let is_direct = |side: usize, columns: usize, b_has_gaps: bool| {
        let whole = Layout { b_has_gaps, ..layout(cube(side), (false, false)) };
        let choice = Choice::new(f64::microkernel(isa()), caches, whole, (side, columns));
        matches!(choice, Choice::Direct { .. })
    };
    assert!(is_direct(504, 504 / 2, false));
    assert!(!is_direct(512, 512 / 2, false));
    assert!(is_direct(256, 256, false));
    assert!(!is_direct(256, 256, true));
}

/// A result that no cache keeps is written past them only where that is faster, and packed for
/// either way: whole rows of B are too far apart.
#[test]
fn results_are_streamed_where_the_caches_are_best_bypassed() {
    let choice = |side: usize, k: usize, are_best_bypassed: bool| {
        let caches = Caches { l1_bytes: 48 << 10, l2_bytes: 2 << 20, are_best_bypassed };
        let whole = layout(Shape { m: side, n: side, k }, (false, false));
        Choice::new(f64::microkernel(isa()), caches, whole, (side, side))
    };
    for are_best_bypassed in [true, false] {
        let far = choice(4096, 32, are_best_bypassed);
        let Choice::FiveLoops(blocking) = far else { panic!("it is {far:?}") };
        assert_eq!(blocking.streams, are_best_bypassed);
        assert!(matches!(choice(1024, 32, are_best_bypassed), Choice::Direct { .. }));
        let Choice::FiveLoops(Blocking { streams: false, .. }) =
            choice(4096, 65, are_best_bypassed)
        else {
            panic!("with more terms, computing takes longer than writing");
        };
    }
}

#[test]
#[cfg_attr(miri, ignore = "too large")]
fn the_workspace_is_what_was_announced() {
    fn check_dtype<T: Number>() {
        let shapes = [cube(0), cube(2), cube(300), cube(1000), Shape { m: 1, n: 9, k: 9 }];
        let mut largest = 0;
        for (shape, transposes) in
            shapes.into_iter().flat_map(|shape| TRANSPOSES.map(|both| (shape, both)))
        {
            for threads in [1, 2, 3] {
                let (a, b) = extents(shape, transposes);
                let plan = planned::<T>(Kernel::of_this_machine(), threads);
                let allocated = plan(layout_of(a, b)).ways().fold(0, |sum, way| match way {
                    Way::FiveLoops(loops) => sum + loops.workspace_bytes(),
                    _ => sum,
                });
                assert_eq!(allocated, workspace_bytes::<T>(a, b, threads), "{shape:?}");
                largest = largest.max(allocated);
            }
        }
        let is_fallback = Kernel::of_this_machine() == Kernel::Matrixmultiply;
        assert!(largest > 0 || is_fallback, "nothing was packed");
    }
    check_dtype::<f64>();
    check_dtype::<f32>();
}
