//! Packs the application, and passes the linker script, which fixes where the stub lies in memory.

use std::env;
use std::fs;
use std::path::PathBuf;

#[path = "src/addresses.rs"]
mod addresses;
mod pack;
#[path = "src/packed.rs"]
mod packed;

fn main() {
    let directory = variable("CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=link.ld");
    println!("cargo:rustc-link-arg=-T{directory}/link.ld");

    let path = variable("GEMMULE_APPLICATION");
    println!("cargo:rerun-if-env-changed=GEMMULE_APPLICATION");
    println!("cargo:rerun-if-changed={path}");
    let application = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let header = packed::Header::of(&application);
    let mut packed = Vec::from(header.to_bytes());
    let mut converted = application.clone();
    addresses::make_absolute(&mut converted);
    let block = pack::pack(&converted);
    let mut unpacked = lz4_flex::decompress(&block, application.len()).expect("it was packed now");
    addresses::make_relative(&mut unpacked);
    assert!(unpacked == application, "packed wrong");
    packed.extend(block);
    let out = PathBuf::from(variable("OUT_DIR")).join("application.packed");
    fs::write(&out, packed).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
