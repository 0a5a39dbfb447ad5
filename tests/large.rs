//! Products of matrices that lie on a disk, in less memory than they take.

// It is the Linux host's.
#[path = "../src/host/background.rs"]
mod background;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gemmule::gemm::{Algorithm, Alone, Dtype, Element, Workspace, multiply};
use gemmule::large::plan::Problem;
use gemmule::large::{Background, Each, Gemm, Resources, Rules, StepError, StepRun, Steps, Work};
use gemmule::ledger::{AccountId, Volume};
use gemmule::memory::MemoryBudget;
use gemmule::store::{
    AddressHasher, Draft, Keep, Layout, MatrixId, Purpose, Store, StoreError, Stored,
};
use ndarray::{Array2, ArrayView2};

use background::Reader;
use support::power::{Left, PowerCut};
use support::random::Random;

const MIB: usize = 1 << 20;

fn account() -> AccountId {
    "weather".parse().expect("an account")
}

fn in_memory() -> Arc<Store> {
    Store::in_memory(MemoryBudget::new(1 << 30))
}

/// Small integers: sums of their products are exact.
fn integers<T: Element>(rows: usize, columns: usize, random: &mut Random) -> Array2<T> {
    Array2::from_shape_simple_fn((rows, columns), || T::from_i64(random.below(9) as i64 - 4))
}

fn bytes<T: Element>(matrix: &Array2<T>) -> &[u8] {
    bytemuck::cast_slice(matrix.as_slice().expect("row by row"))
}

fn address<T: Element>(layout: &Layout, matrix: &Array2<T>) -> MatrixId {
    let mut hasher = AddressHasher::new(layout);
    hasher.update(bytes(matrix));
    hasher.finish()
}

fn keep<T: Element>(store: &Store, matrix: &Array2<T>) -> Arc<Stored> {
    let (rows, columns) = matrix.dim();
    let layout = Layout { dtype: T::DTYPE, rows, columns };
    let draft = store.begin(layout, Purpose::Upload, &account(), 0).expect("there is room");
    let mut writer = draft.clone().rows_writer();
    writer.push(bytes(matrix)).expect("it is written");
    writer.flush().expect("it is written");
    draft.commit().expect("it lasts");
    store.finish(&draft, address(&layout, matrix), Keep::default(), 0).expect("it is kept")
}

fn result_of<T: Element>(draft: &Draft) -> Array2<T> {
    let Layout { rows, columns, .. } = draft.layout();
    let mut elements = vec![T::default(); rows * columns];
    draft.read_block(0..rows, 0..columns, &mut elements, columns).expect("it is read");
    Array2::from_shape_vec((rows, columns), elements).expect("as many")
}

struct Case<T> {
    gemm: Gemm,
    a: Array2<T>,
    b: Array2<T>,
    c: Array2<T>,
}

impl<T: Element> Case<T> {
    fn new((m, n, k): (usize, usize, usize), gemm: Gemm, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut lying = |rows, columns, is_transposed| match is_transposed {
            true => integers(columns, rows, &mut random),
            false => integers(rows, columns, &mut random),
        };
        let (a, b) = (lying(m, k, gemm.transpose_a), lying(k, n, gemm.transpose_b));
        let c = lying(m, n, false);
        Self { gemm, a, b, c }
    }

    /// As the kernel multiplies what is in memory.
    fn expected(&self) -> Array2<T> {
        let turned = |matrix: &Array2<T>, is_transposed| -> Array2<T> {
            if is_transposed { matrix.t().as_standard_layout().to_owned() } else { matrix.clone() }
        };
        let (a, b) =
            (turned(&self.a, self.gemm.transpose_a), turned(&self.b, self.gemm.transpose_b));
        let (a, b): (ArrayView2<T>, ArrayView2<T>) = (a.view(), b.view());
        let mut c = self.c.clone();
        let (alpha, beta) = (T::from_f64(self.gemm.alpha), T::from_f64(self.gemm.beta));
        let mut workspace = Workspace::default();
        multiply(alpha, &a, &b, beta, &mut c.view_mut(), &Alone, &mut workspace).expect("memory");
        c
    }

    fn operands(&self, store: &Store) -> Vec<Arc<Stored>> {
        let mut operands = vec![keep(store, &self.a), keep(store, &self.b)];
        if self.gemm.beta != 0.0 {
            operands.push(keep(store, &self.c));
        }
        operands
    }

    fn layout(&self) -> Layout {
        let (rows, columns) = self.c.dim();
        Layout { dtype: T::DTYPE, rows, columns }
    }

    fn begin(&self, store: &Store) -> Arc<Draft> {
        store.begin(self.layout(), Purpose::Result, &account(), 0).expect("there is room")
    }

    fn problem(&self) -> Problem {
        let layout = |matrix: &Array2<T>| {
            let (rows, columns) = matrix.dim();
            Layout { dtype: T::DTYPE, rows, columns }
        };
        self.gemm.problem(layout(&self.a), layout(&self.b), Rules::LATEST)
    }

    /// Least and most memory, and one between.
    fn memories(&self) -> [usize; 3] {
        let problem = self.problem();
        let (least, most) = (problem.least_bytes(), problem.most_bytes());
        [least, least.midpoint(most), most]
    }
}

const PLAIN: Gemm = Gemm {
    alpha: 1.0,
    beta: 0.0,
    transpose_a: false,
    transpose_b: false,
    algorithm: Algorithm::Classical,
};

fn resources(memory_bytes: usize, background: Option<Arc<Reader>>) -> Resources {
    let background = background.map(|reader| reader as Arc<dyn Background>);
    Resources { memory_bytes, threads: 2, background, rules: Rules::LATEST }
}

fn check<T: Element>(case: &Case<T>, memory_bytes: usize, background: Option<Arc<Reader>>) {
    let store = in_memory();
    let (operands, output) = (case.operands(&store), case.begin(&store));
    let resources = resources(memory_bytes, background);
    let mut run = StepRun::new(Work::Gemm(case.gemm), operands.clone(), output.clone(), resources)
        .expect("a plan");
    // It goes on wherever it is interrupted.
    let asked = AtomicU64::new(0);
    let pause = || asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
    while !run.advance(&Alone, &pause).expect("it goes on") {}
    let (expected, found) = (case.expected(), result_of::<T>(&output));
    let what = || format!("{:?} {:?} in {memory_bytes}", case.gemm, (case.a.dim(), case.b.dim()));
    assert!(expected == found, "{}", what());
    assert_eq!(run.id(), Some(address(&case.layout(), &expected)), "{}", what());
    let (m, n) = expected.dim();
    let k = case.a.len().checked_div(m).unwrap_or(0);
    let flops = if n == 0 { 0 } else { 2 * (m * n * k) as u64 };
    assert_eq!((run.flops_done(), run.counts().flops), (flops, flops), "{}", what());
    assert_eq!(run.counts().bytes_written, case.layout().bytes(), "{}", what());
    let traffic = case.problem().plan(memory_bytes).expect("a plan").traffic;
    let read_bytes = (traffic.read + traffic.read_again) * size_of::<T>() as u64;
    assert_eq!(run.counts().bytes_read, read_bytes, "{}", what());
    assert!(run.advance(&Alone, &|| true).expect("nothing is left to do"));
}

#[test]
fn products_of_every_shape_are_exact() {
    let reader = Reader::start().expect("a thread");
    for (index, shape) in [
        (1, 1, 1),
        (0, 3, 2),
        (3, 0, 2),
        (3, 2, 0),
        (7, 1500, 1100),
        (1500, 7, 1100),
        (1100, 1500, 7),
        (1, 3000, 2100),
        (3000, 1, 2100),
        (1025, 1023, 2049),
        (2100, 1100, 1024),
        (1100, 3100, 1030),
    ]
    .into_iter()
    .enumerate()
    {
        for (transpose_a, transpose_b) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let (alpha, beta) = [(1.0, 0.0), (-2.0, 3.0)][index % 2];
            let gemm = Gemm { alpha, beta, transpose_a, transpose_b, ..PLAIN };
            let case = Case::<f32>::new(shape, gemm, index as u64);
            for (memory, memory_bytes) in case.memories().into_iter().enumerate() {
                let background = (memory != 1).then(|| reader.clone());
                check(&case, memory_bytes, background);
            }
        }
        let case = Case::<f64>::new(shape, Gemm { beta: 1.0, ..PLAIN }, index as u64);
        check(&case, case.memories()[0], None);
    }
}

#[test]
fn fewer_operations_are_executed_where_that_is_asked_for() {
    for (transpose_a, transpose_b) in [(false, false), (true, true)] {
        let algorithm = Algorithm::StrassenWinograd;
        let gemm = Gemm { transpose_a, transpose_b, algorithm, ..PLAIN };
        // Sums of small integers are exact by any algorithm.
        let case = Case::<f32>::new((1100, 3200, 2100), gemm, 6);
        for memory_bytes in [case.memories()[0], case.memories()[2]] {
            let store = in_memory();
            let (operands, output) = (case.operands(&store), case.begin(&store));
            let run = StepRun::new(
                Work::Gemm(gemm),
                operands,
                output.clone(),
                resources(memory_bytes, None),
            );
            let mut run = run.expect("a plan");
            assert!(run.advance(&Alone, &|| false).expect("it goes on"));
            assert!(result_of::<f32>(&output) == case.expected());
            let counts = run.counts();
            assert_eq!(counts.flops, 2 * 1100 * 3200 * 2100);
            assert!(counts.executed_flops < counts.flops / 16 * 15, "{counts:?}");
        }
    }
}

/// Elements whose products are not exact, so that the order of their sums shows.
fn uneven(case: &mut Case<f32>) {
    for matrix in [&mut case.a, &mut case.b] {
        matrix.iter_mut().enumerate().for_each(|(index, element)| {
            *element = (*element + 0.1) / (1 + index % 7) as f32;
        });
    }
}

fn committed(draft: &Draft) -> usize {
    (0..draft.layout().tiles()).filter(|tile| draft.is_committed(*tile)).count()
}

#[test]
fn what_goes_on_after_any_commit_has_the_same_bits() {
    let mut case = Case::<f32>::new((1100, 3100, 1100), PLAIN, 1);
    uneven(&mut case);
    let (all_flops, tiles) = (2 * 1100 * 3100 * 1100, 8);
    for memory_bytes in case.memories() {
        let store = in_memory();
        let operands = case.operands(&store);
        let run = |output: &Arc<Draft>, pause: &(dyn Fn() -> bool + Sync)| {
            let resources = resources(memory_bytes, None);
            let run =
                StepRun::new(Work::Gemm(case.gemm), operands.clone(), output.clone(), resources);
            let mut run = run.expect("a plan");
            let is_done = run.advance(&Alone, pause).expect("it goes on");
            (is_done, run)
        };
        let whole = case.begin(&store);
        let counts = std::sync::Mutex::new(vec![0]);
        let (is_done, uninterrupted) = run(&whole, &|| {
            let mut counts = counts.lock().expect("no panic");
            let count = committed(&whole);
            if counts.last() != Some(&count) {
                counts.push(count);
            }
            false
        });
        assert!(is_done);
        let counts = counts.into_inner().expect("no panic");
        for &cut in &counts {
            let output = case.begin(&store);
            let (is_done, first) = run(&output, &|| committed(&output) > cut);
            assert_eq!(is_done, cut == tiles, "{cut}");
            let (is_done, second) = run(&output, &|| false);
            assert!(is_done);
            assert_eq!(second.id(), uninterrupted.id(), "{cut} in {memory_bytes}");
            // Where nothing is written meanwhile, nothing that was computed is lost with a commit.
            assert_eq!(first.counts().flops + second.counts().flops, all_flops);
            assert_eq!(second.flops_done(), all_flops);
        }
    }
}

/// The disk loses power at moments all over the product; what is left goes on.
#[test]
fn what_goes_on_after_a_power_cut_has_the_same_bits_and_redoes_two_tiles_at_most() {
    let reader = Reader::start().expect("a thread");
    let mut case = Case::<f32>::new((2100, 1500, 1300), PLAIN, 2);
    uneven(&mut case);
    let memory_bytes = case.memories()[0];
    let disk = PowerCut::device(80 * MIB);
    let store = open(&disk);
    let operands: Vec<_> = case.operands(&store).iter().map(|stored| stored.id()).collect();
    let number = case.begin(&store).number();
    drop(store);
    let run = |disk: &PowerCut, background: Option<&Arc<Reader>>| {
        let store = open(disk);
        let first = disk.moments();
        let find = |id: &MatrixId| store.find(&account(), *id).expect("it is kept");
        let operands: Vec<_> = operands.iter().map(find).collect();
        let output = store.draft(number).expect("it was begun");
        let resources = resources(memory_bytes, background.cloned());
        let run = StepRun::new(Work::Gemm(case.gemm), operands.clone(), output, resources);
        let mut run = run.expect("a plan");
        let outcome = run.advance(&Alone, &|| false);
        (outcome, run, first..disk.moments())
    };
    let (outcome, whole, moments) = run(&disk.found(Left::Everything), None);
    assert_eq!(outcome, Ok(true));
    let count = moments.end - moments.start;
    assert!(count > 20, "{count}");
    // Blocks are of one tile.
    let (all_flops, tile_flops) = (2 * 2100 * 1500 * 1300, 2 * 1024 * 1024 * 1300);
    for part in 0..12 {
        let moment = moments.start + 1 + (count - 2) * part / 11;
        let background = (part % 2 == 0).then_some(&reader);
        let disk = disk.found(Left::Everything).cut_at(moment);
        let (outcome, first, _) = run(&disk, background);
        assert!(matches!(outcome, Err(StepError::Store(_))), "{part}: {outcome:?}");
        let (outcome, second, _) = run(&disk.found(Left::Some(part)), background);
        assert_eq!(outcome, Ok(true));
        assert_eq!(second.id(), whole.id(), "{part}");
        assert_eq!(second.flops_done(), all_flops);
        let executed = first.counts().flops + second.counts().flops;
        assert!((all_flops..=all_flops + 2 * tile_flops).contains(&executed), "{part}");
    }
}

#[test]
fn sums_and_transposes_are_exact_and_go_on_where_they_were() {
    let mut random = Random::new(4);
    for (rows, columns) in [(3, 5), (2100, 1500), (700_000, 3), (3, 700_000), (1500, 1)] {
        let store = in_memory();
        let [x, y] = [0, 1].map(|_| integers::<f32>(rows, columns, &mut random));
        let operands = vec![keep(&store, &x), keep(&store, &y)];
        for (each, expected) in [
            (Each::Add { alpha: 2.0, beta: -1.0 }, &x * 2.0 - &y),
            (Each::Add { alpha: 1.0, beta: 1.0 }, &x + &y),
            (Each::Scale { alpha: 0.5 }, &x * 0.5),
            (Each::Transpose, x.t().as_standard_layout().to_owned()),
        ] {
            let (rows, columns) = expected.dim();
            let layout = Layout { dtype: Dtype::F32, rows, columns };
            let output = store.begin(layout, Purpose::Result, &account(), 0).expect("room");
            let mut flops = 0;
            // All over again after each commit.
            for done in 0.. {
                let resources = resources(Each::memory_bytes(layout), None);
                let run =
                    StepRun::new(Work::Each(each), operands.clone(), output.clone(), resources);
                let mut run = run.expect("there is memory");
                let is_done = run.advance(&Alone, &|| committed(&output) > done);
                flops += run.counts().flops;
                if is_done.expect("it goes on") {
                    assert_eq!(run.id(), Some(address(&layout, &expected)), "{each:?} {layout:?}");
                    let each_element = if each == Each::Transpose { 0 } else { 1 };
                    assert!(run.flops_done() >= each_element * (rows * columns) as u64);
                    assert_eq!(run.flops_done(), flops, "nothing is done twice");
                    break;
                }
            }
            assert!(result_of::<f32>(&output) == expected, "{each:?} {layout:?}");
        }
    }
}

#[test]
fn states_are_those_of_the_products_one_by_one() {
    let reader = Reader::start().expect("a thread");
    let mut random = Random::new(5);
    for (rows, columns, steps, snapshot_every) in
        [(5, 1, 7, 3), (1100, 1, 4, 4), (1100, 600, 5, 1), (1100, 600, 4, 3), (2, 3000, 3, 2)]
    {
        let store = in_memory();
        // Two elements in each row: numbers stay small and exact.
        let mut a = Array2::<f64>::zeros((rows, rows));
        for row in 0..rows {
            a[(row, random.below(rows as u64) as usize)] = 1.0;
            a[(row, random.below(rows as u64) as usize)] = -1.0;
        }
        let mut x = integers::<f64>(rows, columns, &mut random);
        let operands = vec![keep(&store, &a), keep(&store, &x)];
        let mut states = Vec::new();
        for step in 1..=steps {
            x = a.dot(&x);
            if step % snapshot_every == 0 || step == steps {
                states.push(x.clone());
            }
        }
        let views: Vec<_> = states.iter().map(|state| state.view()).collect();
        let expected = ndarray::concatenate(ndarray::Axis(1), &views).expect("equal heights");
        let expected = expected.as_standard_layout().to_owned();
        let layout = Layout { dtype: Dtype::F64, rows, columns: expected.ncols() };
        let work = Work::Iterate(Steps { steps, snapshot_every });
        let (least, most) = work.memory_bytes(&[operands[0].layout()], layout, Rules::LATEST);
        for (memory_bytes, background) in [(least, None), (most, None), (least, Some(&reader))] {
            let output = store.begin(layout, Purpose::Result, &account(), 0).expect("room");
            for done in 0.. {
                let resources = resources(memory_bytes, background.cloned());
                let run = StepRun::new(work, operands.clone(), output.clone(), resources);
                let mut run = run.expect("there is memory");
                if run.advance(&Alone, &|| committed(&output) > done).expect("it goes on") {
                    assert_eq!(run.id(), Some(address(&layout, &expected)));
                    let flops = 2 * (rows * rows * columns) as u64 * steps;
                    assert_eq!(run.flops_done(), flops);
                    break;
                }
            }
            assert!(result_of::<f64>(&output) == expected, "{rows} {columns} {work:?}");
        }
    }
}

fn open(disk: &PowerCut) -> Arc<Store> {
    let volume = Volume::open(Box::new(disk.clone()), [1; 16], MIB).expect("a volume");
    Store::open(Arc::new(volume), MemoryBudget::new(0)).expect("a store")
}

/// A bit that turned on the disk is found before the tile is used.
#[test]
fn too_little_memory_and_what_is_damaged_are_told() {
    let case = Case::<f32>::new((1100, 1100, 1100), PLAIN, 3);
    let disk = PowerCut::device(80 * MIB);
    let store = open(&disk);
    let (operands, output) = (case.operands(&store), case.begin(&store));
    let ids: Vec<_> = operands.iter().map(|stored| stored.id()).collect();
    let least = case.memories()[0];
    let refused = StepRun::new(
        Work::Gemm(case.gemm),
        operands.clone(),
        output.clone(),
        resources(least - 1, None),
    );
    assert_eq!(refused.map(drop), Err(StepError::TooSmall { needed_bytes: least }));
    let number = output.number();
    drop((operands, output, store));
    let mut contents = disk.contents();
    let start: &[u8] = &bytes(&case.a)[..64];
    let place = contents.windows(64).position(|window| window == start).expect("it lies there");
    contents[place + 1_000_000] ^= 1;
    let store = open(&PowerCut::new(contents, 80 * MIB as u64));
    let find = |id: &MatrixId| store.find(&account(), *id).expect("it is kept");
    let operands: Vec<_> = ids.iter().map(find).collect();
    let reader = Reader::start().expect("a thread");
    for background in [None, Some(reader)] {
        let output = store.draft(number).expect("it was begun");
        let run = StepRun::new(
            Work::Gemm(case.gemm),
            operands.clone(),
            output,
            resources(least, background),
        );
        let outcome = run.expect("a plan").advance(&Alone, &|| false);
        let damaged = StoreError::Damaged { matrix: operands[0].number(), tile: 0 };
        assert_eq!(outcome, Err(StepError::Store(damaged)));
    }
}
