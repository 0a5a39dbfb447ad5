//! A product on a disk holds no more memory than it was promised. Apart from the others, since all
//! that the process allocates counts.

#[allow(dead_code, reason = "the host asks for more than this test")]
#[path = "../src/host/background.rs"]
mod background;
#[allow(dead_code, reason = "the host asks for more than this test")]
#[path = "../src/linux/volume.rs"]
mod file;

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use gemmule::gemm::{Algorithm, Alone, Dtype};
use gemmule::large::{Background, Gemm, Resources, Rules, StepRun, Work};
use gemmule::ledger::{AccountId, Volume};
use gemmule::memory::MemoryBudget;
use gemmule::store::{AddressHasher, Keep, Layout, Purpose, Store, Stored};

use background::Reader;
use file::FileDisk;

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[allow(unsafe_code)]
// SAFETY: the system's allocator does it; what is counted changes nothing. What grows is allocated
// anew, as by default.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        let held = HELD_BYTES.fetch_add(block.size(), Ordering::Relaxed) + block.size();
        PEAK_BYTES.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, start: *mut u8, block: Block) {
        HELD_BYTES.fetch_sub(block.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(start, block) }
    }
}

fn ones(store: &Store, account: &AccountId, rows: usize, columns: usize) -> Arc<Stored> {
    let layout = Layout { dtype: Dtype::F32, rows, columns };
    let draft = store.begin(layout, Purpose::Upload, account, 0).expect("there is room");
    let (mut writer, mut hasher) = (draft.clone().rows_writer(), AddressHasher::new(&layout));
    let row: Vec<_> = (0..columns).flat_map(|_| 1.0_f32.to_le_bytes()).collect();
    for _ in 0..rows {
        writer.push(&row).expect("it is written");
        hasher.update(&row);
    }
    writer.flush().expect("it is written");
    draft.commit().expect("it lasts");
    store.finish(&draft, hasher.finish(), Keep::default(), 0).expect("it is kept")
}

#[test]
fn a_product_holds_no_more_than_it_was_promised() {
    const M: usize = 3100;
    const N: usize = 2100;
    const K: usize = 2500;
    let path = env::temp_dir().join(format!("gemmule-large-{}", process::id()));
    let disk = FileDisk::open(&path).expect("a file");
    let volume = Volume::open(Box::new(disk), [1; 16], 1 << 20).expect("a volume");
    let store = Store::open(Arc::new(volume), MemoryBudget::new(0)).expect("a store");
    let account: AccountId = "weather".parse().expect("an account");
    let operands = vec![ones(&store, &account, M, K), ones(&store, &account, K, N)];
    let layout = Layout { dtype: Dtype::F32, rows: M, columns: N };
    let reader = Reader::start().expect("a thread");
    for algorithm in [Algorithm::Classical, Algorithm::StrassenWinograd] {
        let gemm =
            Gemm { alpha: 1.0, beta: 0.0, transpose_a: false, transpose_b: false, algorithm };
        let work = Work::Gemm(gemm);
        let layouts = [operands[0].layout(), operands[1].layout()];
        let (least, most) = work.memory_bytes(&layouts, layout, Rules::LATEST);
        for (memory_bytes, is_alone) in [(least, true), (least, false), (most, false)] {
            let output = store.begin(layout, Purpose::Result, &account, 0).expect("there is room");
            let before = HELD_BYTES.load(Ordering::Relaxed);
            PEAK_BYTES.store(before, Ordering::Relaxed);
            let background = (!is_alone).then(|| reader.clone() as Arc<dyn Background>);
            let resources =
                Resources { memory_bytes, threads: 2, background, rules: Rules::LATEST };
            let run = StepRun::new(work, operands.clone(), output.clone(), resources);
            let mut run = run.expect("there is memory");
            assert!(run.advance(&Alone, &|| false).expect("it goes on"));
            let peak = PEAK_BYTES.load(Ordering::Relaxed) - before;
            assert!(peak <= memory_bytes, "{peak} of {memory_bytes}: {algorithm:?} {is_alone}");
            // A plan for more memory uses it.
            assert!(peak > memory_bytes / 4, "{peak} of {memory_bytes}: {algorithm:?} {is_alone}");
            let mut row = vec![0.0_f32; N];
            output.read_block(M - 1..M, 0..N, &mut row, N).expect("it is read");
            assert!(row.iter().all(|element| *element == K as f32), "{algorithm:?}");
            store.abandon(output.number()).expect("it is given up");
        }
    }
    drop(store);
    fs::remove_file(&path).expect("it is removed");
}
