//! A volume: tables of bytes that last, on a disk.
//!
//! A [head](mod@head) of our own says what it is; behind it is a store of
//! [redb](https://docs.rs/redb), a tree that is never changed in place: a commit writes new pages,
//! flushes them, then turns over one sector that says which tree counts, and flushes that. Whatever
//! of unflushed writes the power leaves behind, torn or out of order, either the old tree is found
//! or the new one, whole.
//!
//! That is too much to do for each commit. Between the two lies a log (`log`), in which a commit is
//! one write: the store takes many of them in one stroke, and until then what they change is in
//! memory, [over](recent) what is read from the store. A volume of the first format has no log.
//!
//! Strokes are in two phases, with what pages are free written beside the tree ("quick repair").
//! The one-phase commit of redb saves a flush, but is known to be whole only by its checksums, so
//! that after a power cut all of the volume would be read before it could be used.

mod batch;
mod error;
pub mod head;
mod log;
mod overlay;
mod recent;
mod storage;
mod stroke;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Bound;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableHandle, WriteTransaction};
use spin::mutex::SpinMutex;
use spin::rwlock::RwLock;

pub use batch::{Batch, Table};
pub use error::VolumeError;
use head::{Found, HEAD_BYTES, Id};
use log::Log;
use overlay::Overlay;
use recent::Recent;
pub use storage::DISK_BYTES_MIN;
use storage::{Area, Storage};

use crate::ledger::disk::Disk;

/// A volume, open. Any number of threads may read while one commits.
#[derive(Debug)]
pub struct Volume {
    /// Empty only where it could not be opened again.
    database: RwLock<Option<Database>>,
    area: Arc<Area>,
    /// What the store does not have yet. Whoever needs several of these takes first the log, then
    /// `storing`, then this.
    recent: RwLock<Recent, Relax>,
    /// Held while the store is written to.
    storing: SpinMutex<(), Relax>,
    /// Held while something is committed. `None`: commits go to the store.
    log: Option<SpinMutex<Log, Relax>>,
    id: Id,
    is_new: bool,
    cache_bytes: usize,
    slab_offset: Option<u64>,
}

/// What is done while another thread commits, which may take as long as the disk does.
#[cfg(feature = "host")]
type Relax = spin::relax::Yield;
#[cfg(not(feature = "host"))]
type Relax = spin::relax::Spin;

/// A smaller disk is the store's alone.
const DIVIDED_BYTES_MIN: u64 = 64 << 20;
/// The store's part of a disk that is divided, and its bounds.
const STORE_FRACTION: u64 = 8;
const STORE_BYTES_MIN: u64 = 32 << 20;
const STORE_BYTES_MAX: u64 = 16 << 30;
/// What the part behind the store begins at a multiple of.
const SLAB_ALIGNMENT: u64 = 1 << 20;

impl Volume {
    /// Opens the volume on `disk`, or makes one, named `id_if_new`, if there is nothing on it.
    /// Up to `cache_bytes` of memory hold what was read and is to be written.
    ///
    /// While it is made, power may be cut anywhere: what is found then is a blank disk, or a volume
    /// that was begun and does not count, and is made again.
    pub fn open(
        disk: Box<dyn Disk>,
        id_if_new: Id,
        cache_bytes: usize,
    ) -> Result<Self, VolumeError> {
        let disk: Arc<dyn Disk> = disk.into();
        let found = head::find(&*disk)?;
        let (id, area) = match found {
            Found::Volume(id, extent) => {
                let end = head::division(&*disk)?;
                let start = HEAD_BYTES + head::log_bytes(&*disk)?;
                (id, Area::open(disk, start, end, extent))
            }
            Found::Blank | Found::Begun => {
                if disk.bytes_max() < DISK_BYTES_MIN {
                    return Err(VolumeError::TooSmall { bytes_min: DISK_BYTES_MIN });
                }
                let log_bytes = log::bytes_of_new(disk.bytes_max());
                disk.set_bytes(HEAD_BYTES + log_bytes)?;
                head::begin(&*disk, id_if_new, log_bytes)?;
                (id_if_new, Area::begin(disk, HEAD_BYTES + log_bytes))
            }
        };
        let area = Arc::new(area);
        let database = open_store(&area, cache_bytes, Trust::Whole)?;
        let is_new = !matches!(found, Found::Volume(..));
        if is_new {
            area.seal()?;
        }
        let slab_offset = divide(&area)?;
        let volume = Self::new(database, area, id, cache_bytes, slab_offset)?;
        if !volume.recent.read().is_empty() {
            // What a process wrote that was killed may not be on the medium, and what is written
            // after it is to count.
            volume.area.disk().flush()?;
        }
        Ok(Self { is_new, ..volume })
    }

    /// Opens the volume on `disk` to look at it, wherever it comes from: every page is held against
    /// its checksum first, and what is damaged is told. Nothing is written to the disk, and what is
    /// committed is lost.
    pub fn inspect(disk: Box<dyn Disk>, cache_bytes: usize) -> Result<Self, VolumeError> {
        let (id, extent) = match head::find(&*disk)? {
            Found::Volume(id, extent) => (id, extent),
            Found::Blank | Found::Begun => return Err(VolumeError::Empty),
        };
        let slab_offset = head::division(&*disk)?;
        let start = HEAD_BYTES + head::log_bytes(&*disk)?;
        let area = Area::open(Arc::new(Overlay::new(disk)), start, slab_offset, extent);
        let area = Arc::new(area);
        let database = open_store(&area, cache_bytes, Trust::Nothing)?;
        Self::new(database, area, id, cache_bytes, slab_offset)
    }

    /// With what the log has.
    fn new(
        database: Database,
        area: Arc<Area>,
        id: Id,
        cache_bytes: usize,
        slab_offset: Option<u64>,
    ) -> Result<Self, VolumeError> {
        let mut recent = Recent::default();
        let log = match head::log_bytes(&**area.disk())? {
            0 => None,
            bytes => {
                let stored_until = stroke::stored_until(&database)?;
                let (log, runs) = Log::open(area.disk().clone(), id, bytes, stored_until)?;
                recent = Recent::of_runs(runs, stored_until);
                Some(SpinMutex::new(log))
            }
        };
        Ok(Self {
            database: RwLock::new(Some(database)),
            area,
            recent: RwLock::new(recent),
            storing: SpinMutex::new(()),
            log,
            id,
            is_new: false,
            cache_bytes,
            slab_offset,
        })
    }

    /// The volume's name.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Whether it was made when it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The part of the disk behind the tables, for what is too large for them, and where on the
    /// disk it begins; `None` where the disk is too small to be divided.
    pub fn slab(&self) -> Option<(Arc<dyn Disk>, u64)> {
        self.slab_offset.map(|offset| (self.area.disk().clone(), offset))
    }

    /// Bytes of the disk that are taken: by rows, or by pages that are free for them.
    pub fn bytes(&self) -> u64 {
        self.area.bytes()
    }

    /// Bytes that it can grow to before it is [full](Volume::is_full).
    pub fn bytes_max(&self) -> u64 {
        self.area.bytes_max()
    }

    /// Whether all is used up but the reserve, which is for what is in progress: nothing new should
    /// be begun. A full volume is opened as such until its disk is larger.
    pub fn is_full(&self) -> bool {
        self.area.is_full()
    }

    /// The value at `key`.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VolumeError> {
        if let Some(value) = self.recent.read().get(table, key) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        self.with(|database| {
            let table = database.begin_read()?.open_table(table.definition())?;
            Ok(ReadableTable::get(&table, key)?.map(|value| value.value().to_vec()))
        })
    }

    /// Shows `visit` the rows from `from` until before `until`, or the table's end, in order, all
    /// as of one moment, for as long as it says true. It must not commit.
    pub fn range(
        &self,
        table: Table,
        from: &[u8],
        until: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), VolumeError> {
        self.rows(table, from, until, Order::Forwards, visit)
    }

    /// The same rows, the last one first.
    pub fn range_backwards(
        &self,
        table: Table,
        from: &[u8],
        until: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), VolumeError> {
        self.rows(table, from, until, Order::Backwards, visit)
    }

    /// Closes it, so that it is opened without a repair. One that is dropped is closed as well, but
    /// what goes wrong is not told.
    pub fn close(self) -> Result<(), VolumeError> {
        // What the store can't take stays in the log.
        let stored = self.store_all();
        let closed = match self.database.into_inner() {
            Some(database) => database.close().map_err(|error| redb::Error::from(error).into()),
            None => Ok(()),
        };
        stored.and(closed)
    }

    fn rows(
        &self,
        table: Table,
        from: &[u8],
        until: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), VolumeError> {
        if until.is_some_and(|until| until <= from) {
            return Ok(());
        }
        let range = (Bound::Included(from), until.map_or(Bound::Unbounded, Bound::Excluded));
        let recent = self.recent.read();
        let mut recent = recent.range(table, range, order).peekable();
        self.with(|database| {
            let table = database.begin_read()?.open_table(table.definition())?;
            let mut rows = ReadableTable::range(&table, range)?;
            let mut next = || match order {
                Order::Forwards => rows.next().transpose(),
                Order::Backwards => rows.next_back().transpose(),
            };
            let mut stored = next()?;
            loop {
                let ordering = match (recent.peek(), &stored) {
                    (None, None) => return Ok(()),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some((key, _)), Some((stored, _))) => order.compare(key, stored.value()),
                };
                let goes_on = match (&stored, ordering) {
                    (Some((key, value)), Ordering::Greater) => visit(key.value(), value.value()),
                    _ => match recent.next() {
                        Some((key, Some(value))) => visit(key, value),
                        _ => true,
                    },
                };
                if !goes_on {
                    return Ok(());
                }
                if ordering.is_ge() {
                    stored = next()?;
                }
            }
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, VolumeError> {
        match &*self.database.read() {
            Some(database) => Ok(work(database)?),
            None => Err(VolumeError::Damaged("it could not be opened again to grow".into())),
        }
    }

    fn reopen_larger(&self) -> Result<(), VolumeError> {
        let mut database = self.database.write();
        drop(database.take());
        let grown = self.area.grow_to_end();
        // Also where there was nothing left to grow into: what is there can still be read.
        *database = Some(open_store(&self.area, self.cache_bytes, Trust::Whole)?);
        grown
    }
}

/// Divides the disk between the store and what lies behind it, unless it is divided already: where
/// the latter begins.
fn divide(area: &Area) -> Result<Option<u64>, VolumeError> {
    let disk = area.disk();
    if let Some(offset) = head::division(&**disk)? {
        return Ok(Some(offset));
    }
    let bytes = disk.bytes_max();
    // A store from before disks were divided may be large already.
    let share = (bytes / STORE_FRACTION).clamp(STORE_BYTES_MIN, STORE_BYTES_MAX);
    let offset = share.max(2 * area.bytes()).next_multiple_of(SLAB_ALIGNMENT);
    if bytes < DIVIDED_BYTES_MIN || offset >= bytes {
        return Ok(None);
    }
    head::divide(&**disk, offset)?;
    area.end_at(offset);
    Ok(Some(offset))
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Forwards,
    Backwards,
}

impl Order {
    /// Which of two keys comes first.
    fn compare(self, one: &[u8], other: &[u8]) -> Ordering {
        match self {
            Self::Forwards => one.cmp(other),
            Self::Backwards => other.cmp(one),
        }
    }
}

/// What is taken for granted of a store that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// That it is as it was written.
    Whole,
    Nothing,
}

/// Opens or makes the store, with all tables: an older version may have had fewer.
fn open_store(area: &Arc<Area>, cache_bytes: usize, trust: Trust) -> Result<Database, VolumeError> {
    let open = || -> Result<Database, redb::Error> {
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(trust == Trust::Nothing)
            .create_with_backend(Storage(area.clone()))?;
        let transaction = database.begin_read()?;
        let mut names: Vec<_> = transaction.list_tables()?.collect();
        names.retain(|name| Table::ALL.iter().any(|table| table.name() == name.name()));
        drop(transaction);
        if names.len() < Table::ALL.len() {
            change(&database, |transaction| {
                for table in Table::ALL {
                    transaction.open_table(table.definition())?;
                }
                Ok(())
            })?;
        }
        Ok(database)
    };
    Ok(open()?)
}

/// Commits what `work` changes, so that it is on the medium, and so that the store is opened at
/// once after a power cut.
fn change(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    work(&transaction)?;
    Ok(transaction.commit()?)
}
