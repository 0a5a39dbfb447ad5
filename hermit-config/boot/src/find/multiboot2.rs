//! Multiboot2, as GRUB speaks it.
//!
//! The layouts are those of the Multiboot2 Specification 2.0, section 3.6 "Boot information".

use alloc::string::String;
use alloc::vec::Vec;

use super::{Machine, RSDP_BYTES, TYPE_RAM, command_line, copy};
use crate::console::fail;

/// The magic that a multiboot2 loader leaves in eax.
pub const PROTOCOL: u32 = 0x36d7_6289;

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_RSDP_REVISION_0: u32 = 14;
const TAG_RSDP: u32 = 15;

/// Tags follow a header of two words, each at a multiple of 8.
const FIRST_TAG_OFFSET: usize = 8;
const TAG_ALIGN: usize = 8;

#[repr(C)]
#[derive(Clone, Copy)]
struct Tag {
    kind: u32,
    bytes: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryMapHeader {
    entry_bytes: u32,
    entry_version: u32,
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
    let mut machine =
        Machine { command_line: String::new(), ram: Vec::new(), rsdp: [0; RSDP_BYTES] };
    // SAFETY: the loader's magic was found in eax, so ebx held the address of its information,
    // whose first word is its size.
    let total_bytes: u32 = unsafe { copy(address) };
    let end = address + total_bytes as usize;
    let mut at = address + FIRST_TAG_OFFSET;
    while at + size_of::<Tag>() <= end {
        // SAFETY: the tag header lies within the information's size.
        let tag: Tag = unsafe { copy(at) };
        let content = at + size_of::<Tag>();
        let tag_end = at + tag.bytes as usize;
        if tag_end < content || tag_end > end {
            fail!("a multiboot2 tag of kind {} has {} bytes", tag.kind, tag.bytes);
        }
        match tag.kind {
            TAG_END => break,
            // SAFETY: the specification makes this tag's content a zero-terminated string.
            TAG_COMMAND_LINE => machine.command_line = unsafe { command_line(content) },
            TAG_MEMORY_MAP => memory_map(content, tag_end, &mut machine),
            // An older pointer never replaces the newer one, whichever comes first.
            TAG_RSDP_REVISION_0 if machine.rsdp[0] != 0 => {}
            TAG_RSDP_REVISION_0 | TAG_RSDP => {
                let rsdp_bytes = (tag_end - content).min(RSDP_BYTES);
                // SAFETY: memory is mapped well past the information; the bytes beyond the tag
                // are cut off below.
                machine.rsdp = unsafe { copy(content) };
                machine.rsdp[rsdp_bytes..].fill(0);
            }
            _ => {}
        }
        at = tag_end.next_multiple_of(TAG_ALIGN);
    }
    machine
}

fn memory_map(content: usize, end: usize, machine: &mut Machine) {
    // SAFETY: the specification starts this tag's content with the size of its entries.
    let header: MemoryMapHeader = unsafe { copy(content) };
    let entry_bytes = header.entry_bytes as usize;
    if entry_bytes < size_of::<MemoryMapEntry>() {
        fail!("the multiboot2 memory map has entries of {entry_bytes} bytes");
    }
    let mut at = content + size_of::<MemoryMapHeader>();
    while at + entry_bytes <= end {
        // SAFETY: the entry lies within the tag.
        let entry: MemoryMapEntry = unsafe { copy(at) };
        if entry.kind == TYPE_RAM {
            machine.ram.push(entry.start..entry.start.saturating_add(entry.bytes));
        }
        at += entry_bytes;
    }
}
