//! Addresses: what the processor calls a byte, and what a device calls it.
//!
//! The kernel maps all of RAM a second time at its physical address, page tables included, so the
//! tables can be walked and extended in place. They are extended only while the devices are being
//! set up, before the first worker thread exists: nobody else changes them then.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::mapper::{MapToError, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
    Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use super::fault::Fault;

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// Where device registers appear. The kernel places images, stacks and the heap in the lowest
/// 64 TiB; this range is above them and below the non-canonical hole.
const REGISTERS_START: u64 = 0x7000_0000_0000;
static REGISTERS_NEXT: AtomicU64 = AtomicU64::new(REGISTERS_START);

/// How many blocks are tried before memory counts as fragmented. The heap's pages are 2 MiB or
/// larger, so all but the blocks that straddle two of them are contiguous.
const CONTIGUOUS_ATTEMPTS: usize = 8;

/// This machine, as virtio-drivers sees it: devices reach all of memory, and caches are coherent.
pub struct Machine;

/// Memory that a device may read or write while it holds the address, contiguous for both sides.
pub struct DmaBuffer {
    start: NonNull<u8>,
    bytes: usize,
}

impl DmaBuffer {
    /// A zeroed buffer of `bytes`, which must not be zero.
    pub fn new(bytes: usize) -> Result<Self, Fault> {
        assert!(bytes > 0, "a device can't be given an empty buffer");
        // Blocks that straddle a gap are held until the end, so that the allocator, which would
        // hand out the same block again, must look elsewhere.
        let mut straddling = Vec::new();
        for _ in 0..CONTIGUOUS_ATTEMPTS {
            let buffer = Self::allocate(bytes).ok_or(Fault::Memory { bytes })?;
            if buffer.is_contiguous() {
                return Ok(buffer);
            }
            straddling.push(buffer);
        }
        Err(Fault::Memory { bytes })
    }

    fn allocate(bytes: usize) -> Option<Self> {
        // SAFETY: `new` asserted that the size is not zero, and `layout` keeps it.
        let start = unsafe { alloc_zeroed(layout(bytes)) };
        Some(Self { start: NonNull::new(start)?, bytes })
    }

    fn is_contiguous(&self) -> bool {
        let Some(first) = physical(self.start.addr().get()) else { return false };
        (PAGE_SIZE..self.bytes)
            .step_by(PAGE_SIZE)
            .all(|offset| physical(self.start.addr().get() + offset) == Some(first + offset as u64))
    }

    /// The bytes, for the processor.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is this buffer's own, of that size, and was zeroed at allocation.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The bytes, for the processor to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the exclusive borrow makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // SAFETY: `allocate` got the block from the same allocator with the same layout.
        unsafe { dealloc(self.start.as_ptr(), layout(self.bytes)) }
    }
}

/// Page alignment, so that a buffer of up to a page never straddles two.
fn layout(bytes: usize) -> Layout {
    let alignment = bytes.next_power_of_two().min(PAGE_SIZE);
    Layout::from_size_align(bytes, alignment).expect("device buffers are far below isize::MAX")
}

/// The physical address of a mapped virtual one.
pub fn physical(address: usize) -> Option<u64> {
    match page_tables().translate(VirtAddr::try_new(address as u64).ok()?) {
        TranslateResult::Mapped { frame, offset, .. } => {
            Some(frame.start_address().as_u64() + offset)
        }
        TranslateResult::NotMapped | TranslateResult::InvalidFrameAddress(_) => None,
    }
}

fn page_tables() -> OffsetPageTable<'static> {
    let root = Cr3::read().0.start_address().as_u64() as *mut PageTable;
    // SAFETY: CR3 holds the root table's address, which the kernel maps to itself. References
    // made here are used one at a time, by one thread (see the head of this file).
    let root = unsafe { &mut *root };
    // SAFETY: the kernel maps every page table at its physical address, hence the offset 0.
    unsafe { OffsetPageTable::new(root, VirtAddr::zero()) }
}

/// Gives page tables from the heap, for good.
struct TablesFromHeap;

// SAFETY: every frame is a fresh, page-aligned heap block that is never freed.
unsafe impl FrameAllocator<Size4KiB> for TablesFromHeap {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let page = std::mem::ManuallyDrop::new(DmaBuffer::new(PAGE_SIZE).ok()?);
        PhysFrame::from_start_address(PhysAddr::try_new(physical(page.start.addr().get())?).ok()?)
            .ok()
    }
}

/// A device's registers. Bounds are checked on every access: they come from the device.
pub struct Registers {
    start: NonNull<u8>,
    bytes: usize,
}

/// The widths in which registers are read and written.
pub trait Register: Copy + private::Integer {}
impl<T: Copy + private::Integer> Register for T {}

mod private {
    /// Types of which every bit pattern is a value.
    pub trait Integer {}
    impl Integer for u8 {}
    impl Integer for u16 {}
    impl Integer for u32 {}
}

impl Registers {
    /// Maps `bytes` of registers at a physical address, uncached.
    pub fn map(start: u64, bytes: usize) -> Result<Self, Fault> {
        let fault = Fault::Unmappable { physical: start, bytes };
        let offset = start % PAGE_BYTES;
        let last = start.checked_add((bytes as u64).wrapping_sub(1));
        let Some(last) = last.filter(|&last| bytes > 0 && PhysAddr::try_new(last).is_ok()) else {
            return Err(fault);
        };
        let pages = last / PAGE_BYTES - start / PAGE_BYTES + 1;
        let window = REGISTERS_NEXT.fetch_add(pages * PAGE_BYTES, Ordering::Relaxed);
        for page in 0..pages {
            let physical = start - offset + page * PAGE_BYTES;
            if map_register_page(window + page * PAGE_BYTES, physical).is_err() {
                return Err(fault);
            }
        }
        match NonNull::new((window + offset) as *mut u8) {
            Some(start) => Ok(Self { start, bytes }),
            None => Err(fault),
        }
    }

    /// The address of the first register, for a driver that does its own accesses.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Reads the register at `offset`.
    ///
    /// # Panics
    /// When the register isn't aligned, or isn't inside the region.
    pub fn read<T: Register>(&self, offset: usize) -> T {
        let register = self.register::<T>(offset);
        // SAFETY: `register` is aligned and inside the mapping; every bit pattern is a `T`.
        unsafe { register.read_volatile() }
    }

    /// Writes the register at `offset`.
    ///
    /// # Panics
    /// As in [`Self::read`].
    pub fn write<T: Register>(&mut self, offset: usize, value: T) {
        let register = self.register::<T>(offset);
        // SAFETY: `register` is aligned and inside the mapping of a device's registers.
        unsafe { register.write_volatile(value) }
    }

    /// Whether [`Self::read`] and [`Self::write`] accept `offset`.
    pub fn holds<T: Register>(&self, offset: usize) -> bool {
        let end = offset.checked_add(size_of::<T>());
        end.is_some_and(|end| end <= self.bytes)
            && (self.start.addr().get() + offset).is_multiple_of(align_of::<T>())
    }

    fn register<T: Register>(&self, offset: usize) -> *mut T {
        assert!(self.holds::<T>(offset), "no register at {offset:#x}");
        self.start.as_ptr().wrapping_add(offset).cast()
    }
}

fn map_register_page(address: u64, physical: u64) -> Result<(), MapToError<Size4KiB>> {
    let page = Page::containing_address(VirtAddr::new(address));
    let frame = PhysFrame::containing_address(PhysAddr::new(physical));
    let flags = PageTableFlags::PRESENT
        | PageTableFlags::WRITABLE
        | PageTableFlags::NO_CACHE
        | PageTableFlags::NO_EXECUTE;
    // SAFETY: the page is from a range used for nothing else, so no reference can be to it.
    let flush = unsafe { page_tables().map_to(page, frame, flags, &mut TablesFromHeap) }?;
    flush.flush();
    Ok(())
}

// SAFETY: `dma_alloc` gives blocks of their own, zeroed and page-aligned; `mmio_phys_to_virt` maps
// a range of its own; `share` gives the address of a buffer whose pages are contiguous.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (u64, NonNull<u8>) {
        let Ok(buffer) = DmaBuffer::new(pages * PAGE_SIZE) else {
            // The caller takes a physical address of 0 as "none".
            return (0, NonNull::dangling());
        };
        let buffer = std::mem::ManuallyDrop::new(buffer);
        (physical(buffer.start.addr().get()).unwrap_or(0), buffer.start)
    }

    unsafe fn dma_dealloc(_: u64, start: NonNull<u8>, pages: usize) -> i32 {
        drop(DmaBuffer { start, bytes: pages * PAGE_SIZE });
        0
    }

    unsafe fn mmio_phys_to_virt(start: u64, bytes: usize) -> NonNull<u8> {
        // The interface leaves no way to say no. Addresses were checked by `pci::check_bars`; what
        // remains is being out of memory, at start.
        Registers::map(start, bytes).unwrap_or_else(|fault| panic!("{fault}")).start
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> u64 {
        let address = buffer.cast::<u8>().addr().get();
        physical(address).expect("a buffer that exists is mapped")
    }

    unsafe fn unshare(_: u64, _: NonNull<[u8]>, _: BufferDirection) {}
}
