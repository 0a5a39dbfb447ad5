//! Boots the Hermit application embedded in this file.
//!
//! A hypervisor (PVH) or GRUB (multiboot2) enters in `entry.s`, which switches to 64-bit mode and
//! calls `stub_main`. From there: find what the loader tells about the machine, unpack
//! the embedded application and place it in memory, describe the machine as a device tree, hand over.

#![no_std]
#![no_main]

extern crate alloc;

// The steps, in their order.
mod find;

mod addresses;
mod packed;
mod place;

mod describe;

mod tsc;

mod hand_over;

// What all of them use.
mod console;
mod heap;

core::arch::global_asm!(include_str!("entry.s"));

/// The application as `build.rs` packed it, in a place of its own: see `link.ld`.
#[unsafe(link_section = ".application")]
static APPLICATION: [u8; include_bytes!(concat!(env!("OUT_DIR"), "/application.packed")).len()] =
    *include_bytes!(concat!(env!("OUT_DIR"), "/application.packed"));

/// Called by `entry.s` with the boot protocol and the address of its information.
#[unsafe(no_mangle)]
extern "C" fn stub_main(protocol: u32, information: u32) -> ! {
    console::init();
    let machine = find::machine(protocol, information);
    let application = place::load(&raw const APPLICATION, &machine.ram);
    let tree = describe::device_tree(&machine);
    hand_over::jump(application, tree, &machine.ram)
}
