//! Matrices in every format, as NumPy and safetensors write and read them. The suite is in
//! `tests/numpy`.

mod support;

use std::path::Path;
use std::process::Command;

use support::host::Host;
use support::python::environment;

#[test]
fn products_of_numpys_arrays_are_numpys_in_every_format() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numpy");
    let environment = environment("numpy", &suite.join("requirements.txt"));
    let host = Host::serve(&["--memory-mib", "64"]);
    let output = Command::new(environment.join("bin/python3"))
        .arg("-B")
        .args([suite.join("suite.py"), host.addr().to_string().into()])
        .output()
        .expect("the environment's Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
