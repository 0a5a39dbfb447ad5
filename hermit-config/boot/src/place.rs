//! Place: the application goes to the first multiple of 2 MiB above the stub.
//!
//! As low as possible: the kernel never uses the RAM below the application, which is also why
//! the stub's page tables, stack and device tree are safe there.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::{ptr, slice};

use hermit_entry::elf::{KernelObject, LoadedKernel};

use crate::console::fail;

/// The kernel reserves itself in pages of this size.
const APPLICATION_ALIGN: usize = 2 << 20;
const PAGE_BYTES: usize = 4096;

unsafe extern "C" {
    /// First address above what stays in use, set by `link.ld`.
    static stub_end: u8;
}

/// Loads the application from its file, which must not be used afterwards.
pub fn load(file: *const [u8], ram: &[Range<u64>]) -> LoadedKernel {
    // SAFETY: the file is a static of ours, and nothing has overwritten it yet.
    let bytes = parse(unsafe { &*file }).mem_size();
    let start = (&raw const stub_end).addr().next_multiple_of(APPLICATION_ALIGN);
    let end = start + bytes;

    // The file may reach into that range, so it is read from a copy above both.
    let file_end = file.addr() + file.len();
    let copy_start = end.max(file_end).next_multiple_of(PAGE_BYTES);
    let copy_end = copy_start + file.len();
    if !ram.iter().any(|region| region.start <= start as u64 && copy_end as u64 <= region.end) {
        fail!("no RAM for the application at {start:#x}..{copy_end:#x}: add memory");
    }
    let copy = ptr::with_exposed_provenance_mut::<u8>(copy_start);
    // SAFETY: the target is RAM (checked above), mapped (it ends below 4 GiB, as the stub starts
    // at 1 MiB and all is small), above the file, and nobody's: it lies above the stub, and
    // what the loader left in RAM was copied by `find`.
    unsafe { ptr::copy_nonoverlapping(file.cast::<u8>(), copy, file.len()) };
    // SAFETY: just written, and below nothing else is written there.
    let copy = unsafe { slice::from_raw_parts(copy, file.len()) };

    let memory = ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(start);
    // SAFETY: RAM, mapped and nobody's like the copy, which lies above it. The file that it may
    // overlap is not used any more.
    let memory = unsafe { slice::from_raw_parts_mut(memory, bytes) };
    parse(copy).load_kernel(memory, start as u64)
}

fn parse(file: &[u8]) -> KernelObject<'_> {
    match KernelObject::parse(file) {
        Ok(application) => application,
        Err(error) => fail!("the embedded application is damaged: {error}"),
    }
}
