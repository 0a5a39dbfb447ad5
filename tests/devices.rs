//! The unit tests of the parts of the Hermit host that need no device. The host itself is built for
//! another target, so its modules are read in here; with them comes its allocator, on which this
//! test runs.

#![allow(dead_code, reason = "the host uses what its tests do not")]

#[path = "../src/hermit/buffers.rs"]
mod buffers;
#[path = "../src/hermit/bus.rs"]
mod bus;
#[path = "../src/hermit/demux.rs"]
mod demux;
#[path = "../src/hermit/disk.rs"]
mod disk;
#[path = "../src/hermit/fault.rs"]
mod fault;
#[path = "../src/hermit/heap.rs"]
mod heap;
#[path = "../src/host"]
mod host {
    pub mod classes;
    pub mod lines;
}
#[path = "../src/hermit/memory.rs"]
mod memory;
#[path = "../src/hermit/offload.rs"]
mod offload;
#[path = "../src/hermit/pci.rs"]
mod pci;
