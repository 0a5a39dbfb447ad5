//! PVH, as QEMU, Firecracker and Cloud Hypervisor speak it.
//!
//! The layouts are those of Xen's public header `arch-x86/hvm/start_info.h`.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Machine, TYPE_RAM, command_line, copy};
use crate::console::fail;

/// What `entry.s` passes for this protocol.
pub const PROTOCOL: u32 = 0;

const MAGIC: u32 = 0x336e_c578;
/// The first version that carries a memory map.
const VERSION_MEMORY_MAP: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryMapEntry {
    start: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

pub fn machine(address: usize) -> Machine {
    // SAFETY: PVH passes the address of a start info; the magic is checked below.
    let info: StartInfo = unsafe { copy(address) };
    if info.magic != MAGIC {
        fail!("no PVH start info at {address:#x}");
    }
    if info.version < VERSION_MEMORY_MAP {
        fail!("PVH version {} has no memory map", info.version);
    }
    if info.rsdp == 0 {
        fail!("the hypervisor passed no ACPI root pointer: switch ACPI on");
    }
    let mut ram = Vec::new();
    for index in 0..info.memory_map_entries as usize {
        let address = info.memory_map as usize + index * size_of::<MemoryMapEntry>();
        // SAFETY: the start info's version and entry count say that this entry exists.
        let entry: MemoryMapEntry = unsafe { copy(address) };
        if entry.kind == TYPE_RAM {
            ram.push(entry.start..entry.start.saturating_add(entry.bytes));
        }
    }
    let command_line = match info.command_line as usize {
        0 => String::new(),
        // SAFETY: PVH promises a zero-terminated string where the address is not 0.
        address => unsafe { command_line(address) },
    };
    // SAFETY: the address is not 0, so it is that of the root pointer; its signature is checked
    // by our caller, and 36 bytes are mapped whatever its revision.
    let rsdp = unsafe { copy(info.rsdp as usize) };
    Machine { command_line, ram, rsdp }
}
