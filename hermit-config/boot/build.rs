//! Passes the linker script, which fixes where the stub lies in memory.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets the manifest directory");
    println!("cargo:rerun-if-changed=link.ld");
    println!("cargo:rustc-link-arg=-T{directory}/link.ld");
}
