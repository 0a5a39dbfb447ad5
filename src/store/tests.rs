use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::memory::MemoryDisk;
use super::*;
use crate::gemm::Dtype;
use crate::ledger::{Disk, DiskError};

const MIB: usize = 1 << 20;

/// A disk that is there after the machine on it has ended.
#[derive(Clone, Debug)]
struct Shared(Arc<MemoryDisk>);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(MemoryDisk::new(128 * MIB as u64)))
    }

    fn volume(&self) -> Arc<Volume> {
        Arc::new(Volume::open(Box::new(self.clone()), [3; 16], MIB).expect("a volume"))
    }

    fn store(&self) -> Arc<Store> {
        Store::open(self.volume(), MemoryBudget::new(0)).expect("a store")
    }
}

impl Disk for Shared {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn bytes_max(&self) -> u64 {
        self.0.bytes_max()
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.0.set_bytes(bytes)
    }

    fn discard(&self, part: Range<u64>) {
        self.0.discard(part);
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.0.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.write(offset, bytes)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.0.flush()
    }
}

fn account(name: &str) -> AccountId {
    name.parse().expect("an id")
}

fn f32s(rows: usize, columns: usize) -> Layout {
    Layout { dtype: Dtype::F32, rows, columns }
}

fn elements(layout: Layout) -> Vec<f32> {
    (0..layout.rows * layout.columns).map(|at| (at * 7 % 1_000_003) as f32).collect()
}

fn begin(store: &Store, layout: Layout, name: &str) -> Arc<Draft> {
    store.begin(layout, Purpose::Upload, &account(name), 5).expect("room")
}

/// Stores what `elements` makes, tile by tile.
fn stored(store: &Store, layout: Layout, name: &str) -> Arc<Stored> {
    stored_for(store, layout, name, Purpose::Upload)
}

fn stored_for(store: &Store, layout: Layout, name: &str, purpose: Purpose) -> Arc<Stored> {
    let draft = store.begin(layout, purpose, &account(name), 5).expect("room");
    let elements = elements(layout);
    for index in 0..layout.tiles() {
        let tile = layout.tile_at(index);
        let first = tile.rows.start * layout.columns + tile.columns.start;
        draft.write_tile(&tile, &elements[first..], layout.columns).expect("it is written");
    }
    draft.commit().expect("it is committed");
    store.finish(&draft, address(layout), Keep::default(), 6).expect("it is whole")
}

fn address(layout: Layout) -> MatrixId {
    let mut hasher = AddressHasher::new(&layout);
    hasher.update(bytemuck::cast_slice(&elements(layout)));
    hasher.finish()
}

fn check(stored: &Stored) {
    let layout = stored.layout();
    let expected = elements(layout);
    let mut out = vec![0.0; expected.len()];
    stored.read_block(0..layout.rows, 0..layout.columns, &mut out, layout.columns).unwrap();
    assert_eq!(out, expected);
    out.fill(0.0);
    stored.read_bytes(0, bytemuck::cast_slice_mut(&mut out)).unwrap();
    assert_eq!(out, expected);
}

#[test]
fn what_is_written_in_tiles_is_read_in_blocks() {
    let store = Store::in_memory(MemoryBudget::new(64 * MIB));
    let layout = f32s(1500, 2100);
    let stored = stored(&store, layout, "a");
    check(&stored);
    let expected = elements(layout);
    for (rows, columns) in [
        (0..1, 0..2100),
        (1023..1025, 1020..1030),
        (0..1024, 1024..2048),
        (1024..1500, 2048..2100),
        (7..1400, 3..2099),
        (9..9, 3..4),
    ] {
        let (width, stride) = (columns.len(), columns.len() + 3);
        let mut out = vec![-1.0; rows.len() * stride];
        stored.read_block(rows.clone(), columns.clone(), &mut out, stride).unwrap();
        for (row, out) in rows.zip(out.chunks(stride)) {
            assert_eq!(out[..width], expected[row * 2100..][columns.clone()]);
            assert_eq!(out[width..], [-1.0; 3], "what lies between rows stays");
        }
    }
    let mut odd = [0; 9001];
    stored.read_bytes(4 * 2100 * 1023 + 4093, &mut odd).unwrap();
    let all: &[u8] = bytemuck::cast_slice(&expected);
    assert_eq!(odd, all[4 * 2100 * 1023 + 4093..][..9001]);
}

#[test]
fn what_comes_row_by_row_lies_in_tiles() {
    let mut random = ChaCha12Rng::seed_from_u64(11);
    for (rows, columns) in [(1500, 2100), (1, 1), (3, 700_000), (400_000, 3), (2048, 1024)] {
        let layout = f32s(rows, columns);
        let disk = Shared::new();
        let mut store = disk.store();
        let draft = begin(&store, layout, "a");
        let number = draft.number();
        let mut writer = draft.rows_writer();
        let expected = elements(layout);
        let mut rest: &[u8] = bytemuck::cast_slice(&expected);
        let all_bytes = rest.len();
        while !rest.is_empty() {
            let bytes = (random.next_u32() as usize % (3 * MIB) + 1).min(rest.len());
            let (piece, after) = rest.split_at(bytes);
            writer.push(piece).unwrap();
            rest = after;
            if random.next_u32() % 2 == 0 {
                // The machine ends, and another goes on with what was flushed.
                writer.flush().unwrap();
                writer.draft().commit().unwrap();
                drop((writer, store));
                store = disk.store();
                let draft = store.draft(number).expect("it was begun");
                writer = RowsWriter::resume(draft, (all_bytes - rest.len()) as u64).unwrap();
            }
        }
        let draft = writer.draft().clone();
        draft.commit().unwrap();
        assert!(draft.is_whole(), "{layout:?}");
        let id = address(layout);
        check(&store.finish(&draft, id, Keep::default(), 6).unwrap());
        drop((writer, draft, store));
        check(&disk.store().find(&account("a"), id).expect("it lasts"));
    }
}

#[test]
fn what_was_committed_is_there_after_the_machine_has_ended() {
    let disk = Shared::new();
    let layout = f32s(2000, 1500);
    let id = address(layout);
    let number = {
        let store = disk.store();
        stored(&store, layout, "a");
        store.refer(&account("a"), "weights", Some(id)).unwrap();
        store.refer(&account("a"), "gone", Some(id)).unwrap();
        store.refer(&account("a"), "gone", None).unwrap();
        let draft = begin(&store, f32s(3000, 10), "a");
        let tile = draft.layout().tile_at(0);
        draft.write_tile(&tile, &elements(draft.layout()), 10).unwrap();
        draft.commit().unwrap();
        draft.number()
    };
    let store = disk.store();
    assert_eq!(store.reference(&account("a"), "weights"), Some(id));
    assert_eq!(store.references(&account("a")), [("weights".into(), id)]);
    assert_eq!(store.references(&account("b")), []);
    check(&store.find(&account("a"), id).expect("it lasts"));
    assert!(store.find(&account("b"), id).is_none(), "it is another's");
    assert_eq!(store.drafts(), [(number, Purpose::Upload)]);
    assert!(store.draft(number).unwrap().is_committed(0));
    let taken = store.bytes();
    store.abandon(number).unwrap();
    assert_eq!(taken - store.bytes(), 30 * 4096);
    assert!(store.draft(number).is_none() && disk.store().draft(number).is_none());
}

#[test]
fn what_rots_is_told() {
    let disk = Shared::new();
    let layout = f32s(1500, 1500);
    let store = disk.store();
    let number = stored(&store, layout, "a").number();
    drop(store);
    let (_, offset) = disk.volume().slab().expect("the disk is divided");
    // Within the second tile, which is 1024 x 476 and lies behind the first.
    let at = offset + 4 * 1024 * 1024 + 5;
    let mut byte = [0];
    disk.read(at, &mut byte).unwrap();
    disk.write(at, &[byte[0] ^ 16]).unwrap();
    let store = disk.store();
    let stored = store.by_number(number).unwrap();
    let mut out = vec![0_f32; 1500 * 1500];
    let damaged = Err(StoreError::Damaged { matrix: number, tile: 1 });
    assert_eq!(stored.read_block(0..1024, 0..1024, &mut out, 1024), Ok(()));
    assert_eq!(stored.read_block(0..1024, 1024..1500, &mut out, 476), damaged);
    assert_eq!(stored.read_block(1000..1001, 1499..1500, &mut out, 1), damaged);
    assert_eq!(stored.read_bytes(4 * 1499, &mut [0; 8]), damaged);
}

#[test]
fn equal_matrices_of_an_account_are_one() {
    let store = Store::in_memory(MemoryBudget::new(64 * MIB));
    let layout = f32s(300, 300);
    let first = stored(&store, layout, "a");
    let until = Keep { until_unix_ns: Some(9), is_pinned: false };
    store.keep(&first, until).unwrap();
    let taken = store.bytes();
    assert_eq!(stored(&store, layout, "a").number(), first.number());
    assert_eq!((store.bytes(), first.keep()), (taken, Keep::default()), "the longer one");
    let other = stored(&store, layout, "b");
    assert_ne!(other.number(), first.number());
    assert_eq!([store.list(&account("a")).len(), store.list(&account("b")).len()], [1, 1]);
    assert_eq!(store.bytes_of(&account("a")), layout.bytes());
    store.remove(&other).unwrap();
    check(&other);
    assert!(store.bytes() > taken, "who has it can read it still");
    drop(other);
    assert_eq!(store.bytes(), taken);
}

#[test]
fn time_runs_out_but_for_what_is_pinned() {
    let store = Store::in_memory(MemoryBudget::new(64 * MIB));
    for (rows, until_unix_ns, is_pinned) in
        [(1, Some(10), false), (2, Some(20), false), (3, Some(10), true), (4, None, false)]
    {
        let stored = stored(&store, f32s(rows, 5), "a");
        store.keep(&stored, Keep { until_unix_ns, is_pinned }).unwrap();
    }
    assert_eq!(store.next_expiry_unix_ns(), Some(10));
    assert_eq!([9, 10, 10, 30].map(|now| store.expire(now).unwrap()), [0, 1, 0, 1]);
    assert_eq!((store.next_expiry_unix_ns(), store.list(&account("a")).len()), (None, 2));
}

#[test]
fn what_a_job_has_made_is_found_once_it_is_published() {
    let disk = Shared::new();
    let store = disk.store();
    let layout = f32s(300, 300);
    let made = stored_for(&store, layout, "a", Purpose::Result);
    store.remember(&made, Hash([7; 32]), 1).unwrap();
    assert!(store.find(&account("a"), made.id()).is_none());
    assert_eq!(store.publish(&made, Keep::default()).unwrap().number(), made.number());
    assert_eq!(store.bytes_of(&account("a")), layout.bytes());
    // Another of the same content stays what it is.
    let again = stored_for(&store, layout, "a", Purpose::Result);
    assert_eq!(store.publish(&again, Keep::default()).unwrap().number(), made.number());
    drop(store);
    let store = disk.store();
    let found = store.find(&account("a"), made.id()).expect("it lasts");
    assert_eq!(store.recall(&account("a"), Hash([7; 32])).unwrap().number(), found.number());
    store.remove(&found).unwrap();
    assert!(store.recall(&account("a"), Hash([7; 32])).is_none());
    check(&store.by_number(again.number()).expect("it is not what was removed"));
}

/// Room for about ten of them.
#[test]
fn a_cache_makes_room_where_it_is_worth_the_least() {
    let store = Store::in_memory(MemoryBudget::new(11 * MIB));
    let layout = |rows| f32s(rows, 1024);
    let own = stored(&store, layout(260), "a");
    let flops = [5, 3, 9, 4, 8, 1, 7, 6].map(|worth| worth * 1_000_000_000);
    let mut ids = Vec::new();
    for (at, flops) in flops.into_iter().enumerate() {
        let cached = stored_for(&store, layout(250 - at), "a", Purpose::Result);
        store.remember(&cached, Hash([at as u8; 32]), flops).unwrap();
        ids.push((flops, cached.number()));
        let found = store.recall(&account("a"), Hash([at as u8; 32])).expect("it is there");
        assert_eq!(found.number(), cached.number());
        assert!(store.recall(&account("b"), Hash([at as u8; 32])).is_none());
        assert!(store.find(&account("a"), cached.id()).is_none(), "it is not the account's own");
    }
    ids.sort_unstable();
    let held = store.by_number(ids[0].1).unwrap();
    let there = |store: &Store| {
        let there = ids.iter().map(|(_, number)| store.by_number(*number).is_some());
        there.collect::<Vec<_>>()
    };
    assert_eq!(there(&store), [true; 8]);
    // Of 11 MiB, nearly 9 are taken.
    let draft = begin(&store, layout(950), "a");
    assert_eq!(there(&store)[..4], [true, false, false, true], "the first is being read");
    assert!(matches!(
        store.begin(layout(2500), Purpose::Upload, &account("a"), 5),
        Err(StoreError::Full { .. } | StoreError::Memory(_))
    ));
    let before = there(&store);
    drop(held);
    store.abandon(draft.number()).unwrap();
    assert_eq!(there(&store), before, "nothing goes for what would not fit");
    check(&own);
}

#[test]
fn what_jobs_need_stays_for_them_and_counts_for_nothing_else() {
    let disk = Shared::new();
    let store = disk.store();
    let layout = f32s(10, 10);
    let bytes = layout.bytes();
    let counted =
        |store: &Store| (store.bytes_of(&account("a")), store.bytes_held_for(&account("a")));
    let matrix = stored(&store, layout, "a");
    let (number, id) = (matrix.number(), matrix.id());
    store.keep(&matrix, Keep { until_unix_ns: Some(10), is_pinned: false }).expect("it is kept");
    assert_eq!((counted(&store), store.next_expiry_unix_ns()), ((bytes, bytes), Some(10)));
    assert!(store.need(number) && store.need(number), "two jobs read it");
    assert_eq!(store.expire(10).expect("it is removed"), 1);
    assert!(store.find(&account("a"), id).is_none());
    assert_eq!((counted(&store), store.next_expiry_unix_ns()), ((0, bytes), None));
    drop((matrix, store));
    // The next machine is told of them.
    let store = disk.store();
    assert_eq!(counted(&store), (0, bytes));
    assert!(store.need(number) && store.need(number));
    store.release(number).expect("one has ended");
    check(&store.by_number(number).expect("the other reads it"));
    store.release(number).expect("the other has, too");
    assert!(store.by_number(number).is_none() && !store.need(number));
    assert_eq!((counted(&store), store.bytes()), ((0, 0), 0));
    store.release(number).expect("what is gone is gone");
    // One that no job needs goes at once, and one that its account keeps stays.
    let kept = stored(&store, layout, "a");
    assert!(store.need(kept.number()));
    store.release(kept.number()).expect("it has ended");
    assert_eq!(counted(&store), (bytes, bytes));
    store.remove(&kept).expect("it is removed");
    store.remove(&kept).expect("twice");
    assert_eq!(counted(&store), (0, 0));
}
