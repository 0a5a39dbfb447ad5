//! Find: what the loader tells about the machine, copied out of the loader's memory.
//!
//! The copies matter: loaders put their structures anywhere in RAM, and the application or the
//! kernel's heap may soon lie there.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ops::Range;
use core::ptr;

use crate::console::fail;

mod multiboot2;
mod pvh;

/// Longest command line taken over.
const COMMAND_LINE_BYTES_MAX: usize = 4096;
/// The root pointer's size since ACPI 2.0; a revision 0 pointer uses the first 20 bytes.
pub const RSDP_BYTES: usize = 36;
/// Memory type "usable RAM" in both protocols' maps.
const TYPE_RAM: u32 = 1;

pub struct Machine {
    pub command_line: String,
    /// Usable RAM as the loader lists it: unaligned, in no order.
    pub ram: Vec<Range<u64>>,
    /// A copy of the ACPI root pointer.
    pub rsdp: [u8; RSDP_BYTES],
}

pub fn machine(protocol: u32, information: u32) -> Machine {
    let address = information as usize;
    let machine = match protocol {
        pvh::PROTOCOL => pvh::machine(address),
        multiboot2::PROTOCOL => multiboot2::machine(address),
        other => fail!("unknown boot protocol {other:#x}"),
    };
    if machine.ram.is_empty() {
        fail!("the loader passed no memory map");
    }
    if &machine.rsdp[..8] != b"RSD PTR " {
        fail!("the loader passed no ACPI root pointer: switch ACPI on");
    }
    machine
}

/// Copies a `T` out of the loader's memory.
///
/// # Safety
///
/// The loader must have put a `T` at `address`, for which every bit pattern must be valid.
unsafe fn copy<T: Copy>(address: usize) -> T {
    // SAFETY: all memory below 4 GiB is mapped; the caller vouches for the content.
    unsafe { ptr::with_exposed_provenance::<T>(address).read_unaligned() }
}

/// Copies the zero-terminated command line at `address`.
///
/// # Safety
///
/// The loader must have put a zero-terminated string at `address`.
unsafe fn command_line(address: usize) -> String {
    // SAFETY: the caller vouches for the terminator, and all memory below 4 GiB is mapped.
    let bytes = unsafe { CStr::from_ptr(ptr::with_exposed_provenance(address)) }.to_bytes();
    if bytes.len() > COMMAND_LINE_BYTES_MAX {
        fail!("the command line has {} bytes, more than {COMMAND_LINE_BYTES_MAX}", bytes.len());
    }
    match core::str::from_utf8(bytes) {
        Ok(text) => String::from(text),
        Err(error) => fail!("the command line is not UTF-8: {error}"),
    }
}
