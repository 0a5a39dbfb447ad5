//! Place: the application goes to the first multiple of 2 MiB above the stub.
//!
//! As low as possible: the kernel never uses the RAM below the application, which is also why
//! the stub's page tables, stack and device tree are safe there.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::{ptr, slice};

use hermit_entry::elf::{KernelObject, LoadedKernel};

use crate::addresses;
use crate::console::fail;
use crate::packed::Header;

/// The kernel reserves itself in pages of this size.
const APPLICATION_ALIGN: usize = 2 << 20;
const PAGE_BYTES: usize = 4096;
/// What `entry.s` has mapped.
const MAPPED_END: u64 = 1 << 32;

unsafe extern "C" {
    /// First address above what stays in use, set by `link.ld`.
    static stub_end: u8;
}

/// Loads the application from what `build.rs` packed, which must not be used afterwards.
pub fn load(packed: *const [u8], ram: &[Range<u64>]) -> LoadedKernel {
    let start = (&raw const stub_end).addr().next_multiple_of(APPLICATION_ALIGN);
    let Some(region) = ram.iter().find(|region| region.contains(&(start as u64))) else {
        fail!("no RAM for the application at {start:#x}");
    };
    let ram_end = region.end.min(MAPPED_END) as usize;

    // The packed file may reach into the application's place, so it is unpacked far above both.
    let packed_end = packed.addr() + packed.len();
    // SAFETY: the packed file is a static of ours, and nothing has overwritten it yet.
    let packed = unsafe { &*packed };
    // SAFETY: the range is RAM, mapped, and nobody's: it lies above the stub, and what the loader
    // left in RAM was copied by `find`.
    let file = unsafe { unpack(packed, start.max(packed_end)..ram_end) };
    let application = match KernelObject::parse(file) {
        Ok(application) => application,
        Err(error) => fail!("the embedded application is damaged: {error}"),
    };

    let bytes = application.mem_size();
    if bytes > file.as_ptr().addr() - start {
        fail!("no RAM for the application at {start:#x}..{:#x}: add memory", start + bytes);
    }
    let memory = ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(start);
    // SAFETY: RAM, mapped and nobody's like the unpacked file, which lies above it. The packed one,
    // which it may overlap, is not used any more.
    let memory = unsafe { slice::from_raw_parts_mut(memory, bytes) };
    application.load_kernel(memory, start as u64)
}

/// Unpacks the application's file to the end of the `free` addresses.
///
/// # Safety
///
/// These must be mapped RAM, and nobody else may use what is there.
unsafe fn unpack(packed: &[u8], free: Range<usize>) -> &'static [u8] {
    let Some((header, block)) = packed.split_first_chunk() else {
        fail!("the embedded application is damaged: it has no header");
    };
    let header = Header::from_bytes(*header);
    let bytes = header.file_bytes as usize;
    let Some(start) = free.end.checked_sub(bytes).map(|start| start / PAGE_BYTES * PAGE_BYTES)
    else {
        fail!("the embedded application is damaged: its file has {bytes} bytes");
    };
    if start < free.start {
        fail!("no RAM for the application's file of {bytes} bytes: add memory");
    }
    let file = ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the caller vouches for the range, and this is its end.
    let file = unsafe { slice::from_raw_parts_mut(file, bytes) };
    if let Err(error) = lz4_flex::decompress_into(block, file) {
        fail!("the embedded application is damaged: {error}");
    }
    addresses::make_relative(file);
    if Header::of(file) != header {
        fail!("the embedded application is damaged: its checksum is another");
    }
    file
}
