//! Describe: the device tree that Hermit's kernel reads its machine from.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use vm_fdt::FdtWriter;

use crate::console::fail;
use crate::find::Machine;
use crate::tsc;

/// The kernel manages memory in pages of 4 KiB and takes no part of one.
const PAGE_BYTES: u64 = 4096;
/// Word of the command line by which the host tells the frequency of the time stamp counter.
const TSC_KHZ_WORD: &str = "tsc_khz=";

/// Returns the tree's bytes, which stay valid for good.
pub fn device_tree(machine: &Machine) -> &'static [u8] {
    let (tsc_khz, arguments) = split_tsc_khz(&machine.command_line);
    let tsc_khz = tsc_khz.or_else(tsc::khz);
    match write(machine, tsc_khz, &arguments) {
        Ok(tree) => tree.leak(),
        Err(error) => fail!("cannot write the device tree: {error}"),
    }
}

/// Takes `tsc_khz=N` out of the command line. All else is the application's.
fn split_tsc_khz(command_line: &str) -> (Option<u32>, String) {
    let mut khz = None;
    let mut arguments = Vec::new();
    for word in command_line.split(' ') {
        match word.strip_prefix(TSC_KHZ_WORD).map(str::parse) {
            Some(Ok(value)) => khz = Some(value),
            Some(Err(_)) => fail!("{word}: not a number of kHz"),
            None => arguments.push(word),
        }
    }
    (khz, arguments.join(" "))
}

fn write(
    machine: &Machine,
    tsc_khz: Option<u32>,
    arguments: &str,
) -> Result<Vec<u8>, vm_fdt::Error> {
    // The kernel finds the copy of the root pointer through the tree, long after we return.
    let rsdp: &'static [u8] = Vec::from(machine.rsdp).leak();

    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_string("compatible", "hermit,pvh")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;

    let chosen = tree.begin_node("chosen")?;
    // The kernel leaves everything after `--` to the application.
    tree.property_string("bootargs", &format!("-- {arguments}"))?;
    tree.end_node(chosen)?;

    for Range { start, end } in whole_pages(&machine.ram) {
        let memory = tree.begin_node(&format!("memory@{start:x}"))?;
        tree.property_string("device_type", "memory")?;
        tree.property_array_u64("reg", &[start, end - start])?;
        tree.end_node(memory)?;
    }

    let address = rsdp.as_ptr().expose_provenance() as u64;
    let node = tree.begin_node(&format!("hermit,rsdp@{address:x}"))?;
    tree.property_array_u64("reg", &[address, rsdp.len() as u64])?;
    tree.end_node(node)?;

    if let Some(khz) = tsc_khz {
        let node = tree.begin_node("hermit,tsc")?;
        tree.property_u32("khz", khz)?;
        tree.end_node(node)?;
    }

    tree.end_node(root)?;
    tree.finish()
}

fn whole_pages(ram: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> {
    ram.iter()
        .map(|region| {
            region.start.next_multiple_of(PAGE_BYTES)..region.end / PAGE_BYTES * PAGE_BYTES
        })
        .filter(|region| region.start < region.end)
}
