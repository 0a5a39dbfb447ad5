//! Boots the Hermit application embedded in this file.
//!
//! A hypervisor (PVH) or GRUB (multiboot2) enters in `entry.s`, which switches to 64-bit mode and
//! calls `stub_main`. From there: find what the loader tells about the machine, parse the
//! embedded application, place it in memory, describe the machine as a device tree, hand over.

#![no_std]
#![no_main]

extern crate alloc;

mod console;
mod describe;
mod find;
mod hand_over;
mod heap;
mod place;
mod tsc;

use hermit_entry::elf::KernelObject;

use crate::console::fail;

core::arch::global_asm!(include_str!("entry.s"));

/// The application. Its ELF structures are read in place, so it must be aligned.
static APPLICATION: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("GEMMULE_APPLICATION")));

#[repr(C, align(4096))]
struct Aligned<T: ?Sized>(T);

/// Called by `entry.s` with the boot protocol and the address of its information.
#[unsafe(no_mangle)]
extern "C" fn stub_main(protocol: u32, information: u32) -> ! {
    console::init();
    let machine = find::machine(protocol, information);
    let application = match KernelObject::parse(&APPLICATION.0) {
        Ok(application) => application,
        Err(error) => fail!("the embedded application is damaged: {error}"),
    };
    let application = place::load(&application, &machine.ram);
    let tree = describe::device_tree(&machine);
    hand_over::jump(application, tree, &machine.ram)
}
