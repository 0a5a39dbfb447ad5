//! `gemmule check`: whether every kernel that this machine has multiplies right on it.

use std::io::{self, Write};

use gemmule::gemm::{self, CheckError, Dtype, Element, Isa, Kernel, Shape};

use crate::platform;

/// Checks and prints; the exit status, which is 1 if a kernel is wrong.
pub fn run() -> u8 {
    match platform::start_vectors().and_then(|()| print(&mut io::stdout().lock())) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            eprintln!("gemmule: {error}");
            1
        }
    }
}

/// A line for each kernel and element type; whether all were right.
fn print(out: &mut impl Write) -> io::Result<bool> {
    let mut are_right = true;
    for isa in Isa::ALL {
        if !isa.is_here() {
            writeln!(out, "{}: not on this machine", isa.name())?;
            continue;
        }
        are_right &= print_one::<f64>(out, Kernel::Own(isa), Dtype::F64)?;
        are_right &= print_one::<f32>(out, Kernel::Own(isa), Dtype::F32)?;
    }
    are_right &= print_one::<f64>(out, Kernel::Matrixmultiply, Dtype::F64)?;
    are_right &= print_one::<f32>(out, Kernel::Matrixmultiply, Dtype::F32)?;
    out.flush()?;
    Ok(are_right)
}

fn print_one<T: Element>(out: &mut impl Write, kernel: Kernel, dtype: Dtype) -> io::Result<bool> {
    let name = kernel.name();
    let dtype = dtype.name();
    let result = gemm::check::<T>(kernel);
    match &result {
        Ok(products) => writeln!(out, "{name} {dtype}: {products} products exact")?,
        Err(CheckError::Wrong { shape: Shape { m, n, k }, row, column }) => {
            writeln!(out, "{name} {dtype}: WRONG at ({row}, {column}) of a {m}x{n}x{k} product")?;
        }
        Err(CheckError::Memory(error)) => writeln!(out, "{name} {dtype}: not checked: {error}")?,
    }
    Ok(result.is_ok())
}
