//! A disk that loses power: at any write, or while it flushes, with any part of what was not
//! flushed left behind.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard};

use gemmule::ledger::{Disk, DiskError};

use super::random::Random;

/// What is written whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct PowerCut(Arc<Mutex<State>>);

struct State {
    /// What is there whatever happens.
    medium: Vec<u8>,
    /// What was written and not flushed, in its order.
    pending: Vec<Change>,
    /// Both together, which is what reads see while there is power.
    view: Vec<u8>,
    bytes_max: u64,
    moments: u64,
    cut_at: Option<u64>,
    is_off: bool,
    lies: bool,
    watcher: Option<Watcher>,
}

type Watcher = Arc<dyn Fn(u64, &Moment<'_>) + Send + Sync>;

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// What there is at one moment, to be left behind if the power is cut at it.
pub struct Moment<'a> {
    medium: &'a [u8],
    pending: &'a [Change],
    bytes_max: u64,
}

/// How much of what was not flushed a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    Everything,
    /// The last write, and none of those before.
    Last,
    /// Any sectors of any writes, chosen by this seed. Where several writes meet in a sector, any
    /// of them may have been the last to reach it, so that no other order has to be tried.
    Some(u64),
}

impl Left {
    /// The extremes, and `count` more.
    pub fn each(seed: u64, count: u64) -> impl Iterator<Item = Self> {
        let some = (0..count).map(move |number| Self::Some(seed.wrapping_add(number)));
        [Self::Nothing, Self::Everything, Self::Last].into_iter().chain(some)
    }
}

impl PowerCut {
    /// A device, of zeros.
    pub fn device(bytes: usize) -> Self {
        Self::new(vec![0; bytes], bytes as u64)
    }

    /// An empty file that can grow.
    pub fn file(bytes_max: u64) -> Self {
        Self::new(Vec::new(), bytes_max)
    }

    pub fn new(bytes: Vec<u8>, bytes_max: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            view: bytes.clone(),
            medium: bytes,
            pending: Vec::new(),
            bytes_max,
            moments: 0,
            cut_at: None,
            is_off: false,
            lies: false,
            watcher: None,
        })))
    }

    /// Cuts the power at a moment: each write, change of length and flush is one, and they are
    /// counted from 1. A write at which it happens may be left behind, or not; such a flush flushes
    /// nothing. Everything fails from then on.
    pub fn cut_at(self, moment: u64) -> Self {
        self.state().cut_at = Some(moment);
        self
    }

    /// Says of each flush that it was done, and does none.
    pub fn lying(self) -> Self {
        self.state().lies = true;
        self
    }

    /// Calls `watch` at each moment, with its number and what a cut would leave.
    pub fn watched(self, watch: impl Fn(u64, &Moment<'_>) + Send + Sync + 'static) -> Self {
        self.state().watcher = Some(Arc::new(watch));
        self
    }

    pub fn moments(&self) -> u64 {
        self.state().moments
    }

    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// All that was written, flushed or not.
    pub fn contents(&self) -> Vec<u8> {
        self.state().view.clone()
    }

    /// The disk as it is found when the power is back.
    pub fn found(&self, left: Left) -> Self {
        let state = self.state();
        state.moment().found(left)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test goes on after a panic")
    }
}

/// Cuts of the power through a piece of work, and what was found wrong after any.
pub struct Cuts {
    seed: u64,
    /// Of so many moments one is cut at; where, the seed decides.
    every: u64,
    /// What is left behind in so many ways besides the extremes.
    lefts: u64,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    disks: u64,
    wrong: Option<String>,
}

impl Cuts {
    pub fn new(seed: u64, every: u64, lefts: u64) -> Arc<Self> {
        Arc::new(Self { seed, every, lefts, tally: Mutex::default() })
    }

    /// Has `check` look at each disk that would be found, were the power cut at any of the moments
    /// to come. The work itself goes on undisturbed.
    pub fn watch(
        self: &Arc<Self>,
        disk: PowerCut,
        check: impl Fn(&PowerCut) -> Result<(), String> + Send + Sync + 'static,
    ) -> PowerCut {
        let cuts = self.clone();
        disk.watched(move |number, moment| {
            let mut random = Random::new(cuts.seed.wrapping_add(number));
            if random.below(cuts.every) != 0 {
                return;
            }
            for left in Left::each(random.next(), cuts.lefts) {
                let found = moment.found(left);
                // What a disk that lied leaves behind may be more than the store can take.
                let result = panic::catch_unwind(AssertUnwindSafe(|| check(&found)))
                    .unwrap_or_else(|_| Err("it panicked".into()));
                let mut tally = cuts.tally();
                tally.disks += 1;
                if let (Err(error), None) = (result, &tally.wrong) {
                    let seed = cuts.seed;
                    tally.wrong = Some(format!(
                        "seed {seed}, cut at moment {number}, left {left:?}: {error}"
                    ));
                }
            }
        })
    }

    /// How many disks were looked at, or the first thing that was wrong.
    pub fn result(&self) -> Result<u64, String> {
        let tally = self.tally();
        tally.wrong.clone().map_or(Ok(tally.disks), Err)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics that holds it")
    }
}

impl Moment<'_> {
    pub fn found(&self, left: Left) -> PowerCut {
        let mut medium = self.medium.to_vec();
        let first = match left {
            Left::Nothing => self.pending.len(),
            Left::Everything | Left::Some(_) => 0,
            Left::Last => self.pending.len().saturating_sub(1),
        };
        let mut chance = match left {
            Left::Some(seed) => Some(Chance::new(seed)),
            _ => None,
        };
        for change in &self.pending[first..] {
            match &mut chance {
                None => change.apply(&mut medium),
                Some(chance) => chance.apply(change, &mut medium),
            }
        }
        PowerCut::new(medium, self.bytes_max)
    }
}

/// What a power cut leaves by chance.
struct Chance {
    random: Random,
    /// Of whole writes, and of the sectors of those that are torn.
    per_mille: u32,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let per_mille = [50, 500, 950][random.below(3) as usize];
        Self { random, per_mille }
    }

    fn apply(&mut self, change: &Change, medium: &mut Vec<u8>) {
        match change {
            Change::Write(offset, bytes) if self.random.chance(300) => {
                let mut from = 0;
                while from < bytes.len() {
                    let at = offset + from as u64;
                    let sector = SECTOR_BYTES - at % SECTOR_BYTES;
                    let until = bytes.len().min(from + sector as usize);
                    if self.random.chance(self.per_mille) {
                        write(medium, at, &bytes[from..until]);
                    }
                    from = until;
                }
            }
            _ if self.random.chance(self.per_mille) => change.apply(medium),
            _ => {}
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => write(bytes, *offset, written),
            Self::Length(length) => bytes.resize(*length as usize, 0),
        }
    }
}

/// Writes what there is room for: where a file's new length was lost, so is what lay behind its old
/// one.
fn write(bytes: &mut [u8], offset: u64, written: &[u8]) {
    let from = bytes.len().min(offset as usize);
    let until = bytes.len().min(offset as usize + written.len());
    bytes[from..until].copy_from_slice(&written[..until - from]);
}

impl State {
    fn moment(&self) -> Moment<'_> {
        Moment { medium: &self.medium, pending: &self.pending, bytes_max: self.bytes_max }
    }

    fn check_power(&self) -> Result<(), DiskError> {
        if self.is_off { Err(DiskError("the power is off".into())) } else { Ok(()) }
    }

    fn note_moment(&mut self) -> Result<(), DiskError> {
        self.moments += 1;
        if let Some(watcher) = self.watcher.clone() {
            watcher(self.moments, &self.moment());
        }
        self.is_off = self.cut_at.is_some_and(|moment| self.moments >= moment);
        self.check_power()
    }

    fn change(&mut self, change: Change) -> Result<(), DiskError> {
        self.check_power()?;
        change.apply(&mut self.view);
        self.pending.push(change);
        self.note_moment()
    }
}

impl Disk for PowerCut {
    fn bytes(&self) -> u64 {
        self.state().view.len() as u64
    }

    fn bytes_max(&self) -> u64 {
        self.state().bytes_max
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        if bytes > state.bytes_max {
            return Err(DiskError("no space left".into()));
        }
        if bytes <= state.view.len() as u64 {
            return state.check_power();
        }
        state.change(Change::Length(bytes))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let state = self.state();
        state.check_power()?;
        let from = offset as usize;
        let bytes = state.view.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| DiskError("read beyond the end".into()))?);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state();
        if offset + bytes.len() as u64 > state.view.len() as u64 {
            return Err(DiskError("write beyond the end".into()));
        }
        state.change(Change::Write(offset, bytes.to_vec()))
    }

    fn flush(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        state.check_power()?;
        state.note_moment()?;
        if !state.lies {
            for change in std::mem::take(&mut state.pending) {
                change.apply(&mut state.medium);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PowerCut")
    }
}
