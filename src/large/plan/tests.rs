use alloc::format;
use alloc::vec;

use super::*;
use crate::gemm::Dtype;
use crate::store::Layout;

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const GRAIN: usize = 1024;

fn problem(m: usize, n: usize, k: usize, dtype: Dtype) -> Problem {
    let c = Layout { dtype, rows: m, columns: n };
    Problem {
        shape: Shape { m, n, k },
        element_bytes: dtype.bytes(),
        tile: (c.tile_rows(), c.tile_columns()),
        is_added: false,
        grain: GRAIN,
        workspace_bytes: 12 * MIB,
        is_checked: true,
        rules: Rules::Second,
    }
}

/// Bytes that are in memory at most, as whoever follows the plan takes them.
fn memory_bytes(problem: &Problem, plan: &Plan) -> usize {
    let panels = problem.shape.k.div_ceil(plan.terms.max(1));
    let of_strip = |strip: &Strip| {
        let width = strip.range.len();
        let panel = plan.terms * width;
        let held = panel * (strip.stays + (panels - strip.stays).min(plan.buffers.panels));
        // The last panel is shorter.
        let held = if strip.stays == panels { problem.shape.k * width } else { held };
        let piece = plan.piece.min(strip.block) * plan.terms;
        let vectors = 2 * width + 3 * strip.block + 2 * plan.terms * (strip.stays + 1);
        let vectors = if problem.is_checked { vectors * 8 / problem.element_bytes } else { 0 };
        plan.buffers.results * strip.block * width + held + plan.pieces * piece + vectors
    };
    let elements = plan.strips.iter().map(of_strip).max().unwrap_or(0);
    elements * problem.element_bytes + plan.workspace_bytes + SCRATCH_BYTES
}

/// Follows the plan and counts.
fn traffic(problem: &Problem, plan: &Plan) -> (u64, u64) {
    let mut read = 0;
    let mut written = 0;
    for strip in &plan.strips {
        for (index, block) in plan.blocks(strip).iter().enumerate() {
            let mut place = Some(super::super::blocks::Place { block: index, panel: 0, piece: 0 });
            while let Some(at) = place {
                for load in plan.loads(at, strip.stays, problem.is_added) {
                    let part = plan.part(load, at, block, problem.shape, (false, false)).1;
                    read += part.elements() as u64;
                }
                place = plan.next_in_block(at, block, problem.shape);
            }
            written += block.elements() as u64;
        }
    }
    (read, written)
}

fn shapes() -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![
        (1, 1, 1),
        (0, 5, 5),
        (5, 0, 5),
        (5, 5, 0),
        (3000, 3000, 0),
        (1024, 1024, 1024),
        (1025, 1023, 2047),
        (5000, 3000, 7000),
        (26_000, 26_000, 26_000),
        (100_000, 100_000, 100_000),
        (1_000_000, 1000, 1000),
        (1000, 1_000_000, 1000),
        (1000, 1000, 1_000_000),
        (5_000_000, 3, 3),
        (3, 5_000_000, 3),
        (3, 3, 5_000_000),
        (100_000, 1, 100_000),
        (1, 100_000, 100_000),
    ];
    for length in [2000, 4000, 9000] {
        shapes.extend([(length, 2 * length, 3 * length), (3 * length, length, 2 * length)]);
    }
    shapes
}

#[test]
fn plans_keep_to_their_memory_and_to_tiles_and_say_what_they_move() {
    for (m, n, k) in shapes() {
        for dtype in [Dtype::F64, Dtype::F32] {
            for is_added in [false, true] {
                let problem = Problem { is_added, ..problem(m, n, k, dtype) };
                let least = problem.least_bytes();
                for memory in [least, 2 * least, 128 * MIB, 700 * MIB, 2 * GIB, 40 * GIB] {
                    check(&problem, memory.max(least));
                }
            }
        }
    }
}

fn check(problem: &Problem, memory: usize) {
    let plan = problem.plan(memory).expect("it is enough");
    let what = || format!("{problem:?} in {memory}: {plan:?}");
    let Shape { m, n, .. } = problem.shape;
    assert!(memory_bytes(problem, &plan) <= memory, "{}", what());
    let (read, written) = traffic(problem, &plan);
    assert_eq!((read, written), (plan.traffic.read, plan.traffic.written), "{}", what());
    assert_eq!(written, (m * n) as u64, "{}", what());
    let mut covered = 0;
    for block in plan.strips.iter().flat_map(|strip| plan.blocks(strip)) {
        let edges = [(block.rows.clone(), problem.tile.0, m), (block.columns, problem.tile.1, n)];
        for (edge, tile, length) in edges {
            assert!(edge.start.is_multiple_of(tile), "{}", what());
            assert!(edge.end.is_multiple_of(tile) || edge.end == length, "{}", what());
        }
        covered += 1;
    }
    assert!(covered > 0 || m * n == 0, "{}", what());
    let bound = problem.lower_bound_bytes(memory) / problem.element_bytes as f64;
    assert!(plan.traffic.total() as f64 >= bound, "below {bound}: {}", what());
}

#[test]
fn less_than_the_least_memory_is_refused_and_more_than_the_most_gains_nothing() {
    for (m, n, k) in shapes() {
        let problem = problem(m, n, k, Dtype::F32);
        let needed_bytes = problem.least_bytes();
        assert_eq!(problem.plan(needed_bytes - 1), Err(TooSmall { needed_bytes }));
        let most = problem.plan(problem.most_bytes()).expect("it is enough");
        let is_empty = m * n == 0;
        let read = if is_empty { 0 } else { m * k + k * n } as u64;
        let Traffic { read: found, written, .. } = most.traffic;
        assert_eq!((found, written), (read, (m * n) as u64), "{problem:?} {most:?}");
    }
}

/// Blocks of C as large as memory move `2 m n k / sqrt(S) + m n`, of which the bound has no second
/// term: where k is about twice `sqrt(S)` there is a gap between the two.
#[test]
fn traffic_is_near_the_bound() {
    for (length, dtype, memory_mib, most, most_with_again) in [
        // What `make bench-large` does.
        (20_000, Dtype::F32, 2048 - 96, 1.0, 1.0),
        (20_000, Dtype::F32, 1536, 1.24, 1.24),
        // 16 GiB.
        (26_755, Dtype::F64, 1024, 1.50, 1.64),
        (26_755, Dtype::F64, 960, 1.44, 1.57),
        (26_755, Dtype::F64, 768, 1.39, 1.52),
        (26_755, Dtype::F64, 460, 1.38, 1.48),
        (100_000, Dtype::F64, 60_000, 1.26, 1.26),
        (100_000, Dtype::F64, 8192, 1.32, 1.43),
        (100_000, Dtype::F64, 1024, 1.16, 1.21),
    ] {
        let problem = problem(length, length, length, dtype);
        let memory_bytes = memory_mib * MIB;
        let plan = problem.plan(memory_bytes).expect("it is enough");
        let Traffic { read, written, .. } = plan.traffic;
        let bound = problem.lower_bound_bytes(memory_bytes) / dtype.bytes() as f64;
        let ratio = |elements: u64| elements as f64 / bound;
        let (found, with_again) = (ratio(read + written), ratio(plan.traffic.total()));
        assert!(found <= most, "{length} in {memory_mib} MiB: {found}");
        assert!(with_again <= most_with_again, "{length} in {memory_mib} MiB: {with_again}");
    }
}

/// How near the best that whole blocks can be: so many near-squares of C as it takes where all
/// memory is a block's, each of which reads its rows of A and its columns of B.
#[test]
fn sixteen_gib_in_one_take_seven_blocks() {
    let problem = problem(26_755, 26_755, 26_755, Dtype::F64);
    let plan = problem.plan(960 * MIB).expect("it is enough");
    let blocks: Vec<_> = plan.strips.iter().map(|strip| strip.edges.len() - 1).collect();
    assert_eq!((plan.held, &blocks[..]), (Operand::A, &[2, 2, 3][..]));
    // 960 MiB are 5.7 blocks.
    let matrix = 26_755_u64 * 26_755;
    assert!(plan.traffic.read <= matrix * 5375 / 1000, "{:?}", plan.traffic);
    assert!(plan.traffic.read_again <= matrix * 575 / 1000, "{:?}", plan.traffic);
}

#[test]
fn the_bound_is_that_of_the_paper_and_never_below_all_matrices_once() {
    let cube = |n| Shape { m: n, n, k: n };
    // 2 * 4096^3 / 1024 - 2 * 2^20
    assert_eq!(lower_bound(cube(4096), 1 << 20, false), 132_120_576.0);
    assert_eq!(lower_bound(cube(4096), 1 << 20, true), 132_120_576.0 + 16_777_216.0);
    assert_eq!(lower_bound(cube(1000), 1 << 30, false), 3e6);
    assert_eq!(lower_bound(cube(1000), 1 << 30, true), 4e6);
}

/// Jobs that an older version began go on by its plans, to the bit.
#[test]
fn the_first_rules_stay_as_they_were() {
    let mut digest = 0_u64;
    for (m, n, k) in shapes() {
        for dtype in [Dtype::F64, Dtype::F32] {
            let problem = problem(m, n, k, dtype);
            let problem = Problem { is_checked: false, rules: Rules::First, ..problem };
            let least = problem.least_bytes();
            for memory in [least, 2 * least, 128 * MIB, 700 * MIB, 928 * MIB, 2 * GIB, 40 * GIB] {
                let plan = problem.plan(memory.max(least)).expect("it is enough");
                let Buffers { results, panels } = plan.buffers;
                let strips = plan.strips.iter();
                let strips: Vec<_> =
                    strips.map(|strip| (strip.range.clone(), strip.block, strip.stays)).collect();
                let Plan { held, terms, piece, pieces, workspace_bytes, .. } = plan;
                let said = format!(
                    "{held:?} {terms} {piece} {pieces} {:?} {workspace_bytes} {strips:?}",
                    (results, panels),
                );
                // As FNV-1a does.
                for byte in said.bytes() {
                    digest = (digest ^ u64::from(byte)).wrapping_mul(0x100000001b3);
                }
            }
        }
    }
    assert_eq!(digest, 0x1693_4eec_422e_f15e);
}

#[test]
fn jobs_that_say_nothing_of_rules_keep_to_the_first() {
    assert_eq!(Rules::default(), Rules::First);
    assert_ne!(Rules::default(), Rules::LATEST);
}
