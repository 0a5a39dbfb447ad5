//! The disk: a virtio block device, as what a volume lies on.
//!
//! A request is a header, data and a status, each a descriptor of its own as the legacy interface
//! wants it (virtio 1.2, section 5.2.6). Data passes through buffers of the driver's: they are
//! contiguous for the device, and several requests are under way at once where much is moved. The
//! caller waits and polls; the device never interrupts.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gemmule::ledger::{Disk, DiskError};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::DeviceType;

use super::bus::{Bus, Device};
use super::fault::Fault;
use super::memory::{DmaBuffer, Machine};

const QUEUE: u16 = 0;
/// Requests under way at once, each with its buffer.
const SLOTS: usize = 4;
const DESCRIPTORS_PER_REQUEST: usize = 3;
const QUEUE_ENTRIES: usize = 16;
/// Data of one request, at most.
const SLOT_BYTES: usize = 64 * 1024;
/// The unit of the protocol, whatever the device's blocks are.
const SECTOR_BYTES: usize = 512;
/// Type, a reserved word, and the sector.
const HEADER_BYTES: usize = 16;
/// A medium that is slow to flush is waited for; a device that says nothing for so long is at
/// fault.
const SILENCE_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(SLOTS * DESCRIPTORS_PER_REQUEST <= QUEUE_ENTRIES, "a queue is never full");
const _: () = assert!(SLOT_BYTES.is_multiple_of(SECTOR_BYTES));

/// The configuration space has the largest length of a descriptor; the device can only be read; it
/// has the size of its blocks; it has a cache, and flushes it when told to.
const FEATURE_SIZE_MAX: u64 = 1 << 1;
const FEATURE_READ_ONLY: u64 = 1 << 5;
const FEATURE_BLOCK_SIZE: u64 = 1 << 6;
const FEATURE_FLUSH: u64 = 1 << 9;
const FEATURES: u64 = FEATURE_SIZE_MAX | FEATURE_READ_ONLY | FEATURE_BLOCK_SIZE | FEATURE_FLUSH;

/// Where the configuration space has the number of sectors, and what the features tell of.
const CONFIG_CAPACITY: usize = 0;
const CONFIG_SIZE_MAX: usize = 8;
const CONFIG_BLOCK_SIZE: usize = 20;

const STATUS_OK: u8 = 0;
/// What no device answers.
const STATUS_NONE: u8 = 0xff;

const BROKEN: Fault = Fault::Ring { index: QUEUE };

/// A disk that can be written.
pub struct BlockDisk {
    geometry: Geometry,
    driver: Mutex<Driver>,
}

impl BlockDisk {
    /// Starts the first disk of the machine, if it has one.
    pub fn start(bus: &mut Bus) -> Option<Result<Self, Fault>> {
        bus.take(DeviceType::Block).map(|device| device.and_then(Self::open))
    }

    fn open(mut device: Device) -> Result<Self, Fault> {
        let features = device.negotiate(FEATURES)?;
        if features & FEATURE_READ_ONLY != 0 {
            return Err(Fault::ReadOnly);
        }
        let config = |feature, offset| match features & feature {
            0 => Ok(None),
            _ => device.config_words(offset).map(|[word]| Some(word as usize)),
        };
        let block_bytes = config(FEATURE_BLOCK_SIZE, CONFIG_BLOCK_SIZE)?;
        let size_max = config(FEATURE_SIZE_MAX, CONFIG_SIZE_MAX)?;
        let [low, high] = device.config_words(CONFIG_CAPACITY)?;
        let sectors = u64::from(high) << 32 | u64::from(low);
        let geometry = Geometry::new(sectors, block_bytes, size_max)?;

        let mut queue = device.queue(QUEUE)?;
        queue.set_dev_notify(false);
        let slots = (0..SLOTS).map(|_| Slot::new(geometry.request_bytes));
        let slots = slots.collect::<Result<_, _>>()?;
        device.start();
        // Without that feature, what a device has answered is on the medium (section 5.2.6.2).
        let has_cache = features & FEATURE_FLUSH != 0;
        let (lent, free) = ([None; QUEUE_ENTRIES], (0..SLOTS).collect());
        let driver = Driver { device, queue, slots, lent, free, has_cache, failure: None };
        Ok(Self { geometry, driver: Mutex::new(driver) })
    }

    fn with<R>(&self, work: impl FnOnce(&mut Driver) -> Result<R, Fault>) -> Result<R, DiskError> {
        // The state is whole wherever a panic can happen, and a panic ends the machine.
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &driver.failure {
            return Err(failure.clone());
        }
        work(&mut driver).map_err(|fault| {
            // Requests may be under way still, and nobody knows what they did: this was the last.
            let failure = DiskError(fault.to_string());
            driver.failure = Some(failure.clone());
            failure
        })
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<(), DiskError> {
        let end = offset.checked_add(bytes as u64);
        if end.is_some_and(|end| end <= self.geometry.bytes) {
            return Ok(());
        }
        let all = self.geometry.bytes;
        Err(DiskError(format!("no {bytes} bytes at {offset} on a disk of {all} bytes")))
    }
}

impl fmt::Debug for BlockDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockDisk").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl Disk for BlockDisk {
    fn bytes(&self) -> u64 {
        self.geometry.bytes
    }

    fn bytes_max(&self) -> u64 {
        self.geometry.bytes
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        if bytes <= self.geometry.bytes {
            return Ok(());
        }
        Err(DiskError(format!("a disk of {} bytes can't have {bytes}", self.geometry.bytes)))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, out.len())?;
        self.with(|driver| driver.read(&self.geometry, offset, out))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check(offset, bytes.len())?;
        self.with(|driver| driver.write(&self.geometry, offset, bytes))
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.with(Driver::flush)
    }
}

/// What the device can do in one request, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    /// Whole blocks.
    bytes: u64,
    /// Requests begin and end at multiples of this.
    block_bytes: usize,
    /// Data of one request, at most: whole blocks.
    request_bytes: usize,
}

impl Geometry {
    fn new(
        sectors: u64,
        block_bytes: Option<usize>,
        size_max: Option<usize>,
    ) -> Result<Self, Fault> {
        let block_bytes = block_bytes.unwrap_or(SECTOR_BYTES);
        let request_bytes = size_max.unwrap_or(SLOT_BYTES).min(SLOT_BYTES);
        let fits = (SECTOR_BYTES..=request_bytes).contains(&block_bytes);
        let bytes = sectors.checked_mul(SECTOR_BYTES as u64);
        match bytes {
            Some(bytes) if fits && block_bytes.is_power_of_two() => Ok(Self {
                bytes: bytes - bytes % block_bytes as u64,
                block_bytes,
                request_bytes: request_bytes - request_bytes % block_bytes,
            }),
            _ => Err(Fault::Bus(format!(
                "a disk of {sectors} sectors, in blocks of {block_bytes} bytes, and of at most \
                 {request_bytes} bytes in a request"
            ))),
        }
    }

    /// The whole blocks that have these bytes.
    fn blocks(&self, offset: u64, bytes: usize) -> Range<u64> {
        let block_bytes = self.block_bytes as u64;
        let end = offset + bytes as u64;
        offset - offset % block_bytes..end.next_multiple_of(block_bytes)
    }
}

/// Copies to `to`, which is at `to_offset` of the disk, those bytes that `from` has too.
fn copy_common(to: &mut [u8], to_offset: u64, from: &[u8], from_offset: u64) {
    let start = to_offset.max(from_offset);
    let end = (to_offset + to.len() as u64).min(from_offset + from.len() as u64);
    if start < end {
        let range = |offset| (start - offset) as usize..(end - offset) as usize;
        to[range(to_offset)].copy_from_slice(&from[range(from_offset)]);
    }
}

/// The device and its requests.
struct Driver {
    // Dropped first, which resets the device before the buffers go.
    device: Device,
    queue: VirtQueue<Machine, QUEUE_ENTRIES>,
    slots: Vec<Slot>,
    /// Which slot each descriptor lends to the device.
    lent: [Option<usize>; QUEUE_ENTRIES],
    free: Vec<usize>,
    /// Whether the device has to be told to flush.
    has_cache: bool,
    /// What went wrong. Then nothing is asked of the device any more.
    failure: Option<DiskError>,
}

// SAFETY: the device's registers, the queue and the buffers belong to the driver alone, and work
// from any thread; what they need of the page tables is not changed once threads exist.
unsafe impl Send for Driver {}

impl Driver {
    fn read(&mut self, geometry: &Geometry, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        let blocks = geometry.blocks(offset, out.len());
        self.transfer(geometry, Request::Read, blocks, |data, data_offset| {
            copy_common(out, offset, data, data_offset);
        })
    }

    /// What blocks have before and after the bytes is read first, and written again with them.
    fn write(&mut self, geometry: &Geometry, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let blocks = geometry.blocks(offset, bytes.len());
        let end = offset + bytes.len() as u64;
        let mut before = vec![0; (offset - blocks.start) as usize];
        let mut after = vec![0; (blocks.end - end) as usize];
        self.read(geometry, blocks.start, &mut before)?;
        self.read(geometry, end, &mut after)?;
        let parts = [(blocks.start, &*before), (offset, bytes), (end, &*after)];
        self.transfer(geometry, Request::Write, blocks, |data, data_offset| {
            for (offset, bytes) in parts {
                copy_common(data, data_offset, bytes, offset);
            }
        })
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if self.has_cache {
            let number = self.free.last().copied().ok_or(BROKEN)?;
            self.slots[number].prepare(Request::Flush, 0..0);
            self.begin()?;
            self.complete()?;
        }
        Ok(())
    }

    /// Moves these blocks, as many requests at once as there are slots. `pass` gets the data of
    /// each and where it lies on the disk: before a write, to fill it, and after a read.
    fn transfer(
        &mut self,
        geometry: &Geometry,
        request: Request,
        blocks: Range<u64>,
        mut pass: impl FnMut(&mut [u8], u64),
    ) -> Result<(), Fault> {
        let mut next = blocks.start;
        while next < blocks.end || self.free.len() < SLOTS {
            match self.free.last() {
                Some(&number) if next < blocks.end => {
                    let end = blocks.end.min(next + geometry.request_bytes as u64);
                    let slot = &mut self.slots[number];
                    slot.prepare(request, next..end);
                    if request == Request::Write {
                        pass(slot.data(), next);
                    }
                    self.begin()?;
                    next = end;
                }
                _ => {
                    let number = self.complete()?;
                    let slot = &mut self.slots[number];
                    if request == Request::Read {
                        let offset = slot.offset;
                        pass(slot.data(), offset);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the device the request that the next free slot has.
    fn begin(&mut self) -> Result<(), Fault> {
        let number = self.free.pop().ok_or(BROKEN)?;
        // SAFETY: `lent` records the loan, and the slot isn't touched before `complete`.
        let token = self.slots[number].lend(|from, to| unsafe { self.queue.add(from, to) });
        let token = token.map_err(|_| BROKEN)?;
        self.lent[usize::from(token)] = Some(number);
        self.device.notify(QUEUE, &self.queue);
        Ok(())
    }

    /// Waits until the device is done with a request; gives its slot.
    fn complete(&mut self) -> Result<usize, Fault> {
        let deadline = Instant::now() + SILENCE_MAX;
        let token = loop {
            if let Some(token) = self.queue.peek_used() {
                break token;
            }
            if Instant::now() > deadline {
                return Err(Fault::Silent);
            }
            std::hint::spin_loop();
        };
        let number = self.lent.get_mut(usize::from(token)).and_then(Option::take).ok_or(BROKEN)?;
        let slot = &mut self.slots[number];
        // SAFETY: `lent` says that this token lends this slot.
        let popped = slot.lend(|from, to| unsafe { self.queue.pop_used(token, from, to) });
        popped.map_err(|_| BROKEN)?;
        self.free.push(number);
        match slot.status() {
            STATUS_OK => Ok(number),
            STATUS_NONE => Err(BROKEN),
            status => Err(Fault::Request { what: slot.request.name(), status }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Read,
    Write,
    Flush,
}

impl Request {
    /// The protocol's number of it.
    fn number(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Flush => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
        }
    }
}

/// The memory of a request.
struct Slot {
    /// The header, and the status behind it.
    control: DmaBuffer,
    data: DmaBuffer,
    request: Request,
    /// Where on the disk the data lies.
    offset: u64,
    /// Bytes of the data.
    bytes: usize,
}

impl Slot {
    fn new(data_bytes: usize) -> Result<Self, Fault> {
        let control = DmaBuffer::new(HEADER_BYTES + 1)?;
        let data = DmaBuffer::new(data_bytes)?;
        Ok(Self { control, data, request: Request::Read, offset: 0, bytes: 0 })
    }

    fn prepare(&mut self, request: Request, blocks: Range<u64>) {
        self.request = request;
        self.offset = blocks.start;
        self.bytes = (blocks.end - blocks.start) as usize;
        let sector = blocks.start / SECTOR_BYTES as u64;
        let control = self.control.bytes_mut();
        control[..4].copy_from_slice(&request.number().to_le_bytes());
        control[4..8].fill(0);
        control[8..HEADER_BYTES].copy_from_slice(&sector.to_le_bytes());
        control[HEADER_BYTES] = STATUS_NONE;
    }

    fn data(&mut self) -> &mut [u8] {
        &mut self.data.bytes_mut()[..self.bytes]
    }

    fn status(&self) -> u8 {
        self.control.bytes()[HEADER_BYTES]
    }

    /// Shows what the device reads and what it writes, the same each time for a request.
    fn lend<R>(
        &mut self,
        show: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
        let (header, status) = self.control.bytes_mut().split_at_mut(HEADER_BYTES);
        let data = &mut self.data.bytes_mut()[..self.bytes];
        match self.request {
            Request::Read => show(&[header], &mut [data, status]),
            Request::Write => show(&[header, data], &mut [status]),
            Request::Flush => show(&[header], &mut [status]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_of_whole_blocks() {
        let geometry = Geometry::new(100, None, None).expect("512 bytes");
        assert_eq!(geometry, Geometry { bytes: 51_200, block_bytes: 512, request_bytes: 65_536 });
        for (offset, bytes, blocks) in
            [(0, 0, 0..0), (0, 1, 0..512), (511, 2, 0..1024), (512, 512, 512..1024)]
        {
            assert_eq!(geometry.blocks(offset, bytes), blocks, "{bytes} at {offset}");
        }
        let geometry = Geometry::new(100, Some(4096), Some(10_000)).expect("4096 bytes");
        assert_eq!(geometry, Geometry { bytes: 49_152, block_bytes: 4096, request_bytes: 8192 });
    }

    #[test]
    fn impossible_disks_are_refused() {
        for (sectors, block_bytes, size_max) in [
            (u64::MAX, None, None),
            (100, Some(0), None),
            (100, Some(1000), None),
            (100, Some(131_072), None),
            (100, Some(4096), Some(2048)),
            (100, None, Some(0)),
        ] {
            let geometry = Geometry::new(sectors, block_bytes, size_max);
            assert!(geometry.is_err(), "{sectors} {block_bytes:?} {size_max:?}");
        }
    }

    #[test]
    fn common_bytes_are_copied_and_no_others() {
        for (to_offset, from_offset, expected) in [
            (10, 10, b"abcd"),
            (10, 8, b"cd.."),
            (10, 13, b"...a"),
            (10, 14, b"...."),
            (10, 6, b"...."),
        ] {
            let mut to = *b"....";
            copy_common(&mut to, to_offset, b"abcd", from_offset);
            assert_eq!(&to, expected, "{to_offset} {from_offset}");
        }
    }
}
