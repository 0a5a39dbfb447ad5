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
const APPLICATION_ALIGN: u64 = 2 << 20;

unsafe extern "C" {
    /// First address above the stub, set by `link.ld`.
    static stub_end: u8;
}

pub fn load(application: &KernelObject<'_>, ram: &[Range<u64>]) -> LoadedKernel {
    let start = (&raw const stub_end).addr() as u64;
    let start = start.next_multiple_of(APPLICATION_ALIGN);
    let bytes = application.mem_size();
    let end = start + bytes as u64;
    if !ram.iter().any(|region| region.start <= start && end <= region.end) {
        fail!("no RAM for the application at {start:#x}..{end:#x}: give the machine more memory");
    }
    let memory = ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(start as usize);
    // SAFETY: the range is RAM (checked above), mapped (it ends below 4 GiB, as the stub starts
    // at 1 MiB and both are small), and nobody's: it lies above the stub, and what the loader
    // left in RAM was copied by `find`.
    let memory = unsafe { slice::from_raw_parts_mut(memory, bytes) };
    application.load_kernel(memory, start)
}
