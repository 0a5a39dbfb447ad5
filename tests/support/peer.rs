//! The peer of every comparison: the same service as a static Linux binary, on Debian's cloud
//! kernel and the same virtual hardware, set up as well as we know how.
//!
//! Needs Debian with its package lists fetched (`apt-get update`), for `apt-get download`, and
//! `dpkg-deb`. What is fetched and built stays in `target/peer`; delete that to start over:
//! - the kernel package that `linux-image-cloud-amd64` depends on (27 MB), not installed;
//! - `busybox-static` (1 MB), not installed;
//! - the service, built with `+crt-static` for `x86_64-unknown-linux-gnu`;
//! - an initial file system of those for each machine, with no more in it than the service needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::vm::{GUEST_ADDRESS, GUEST_PORT, Guest, Machine, target_path, tsc_khz};

mod cpio;
mod kernel;

/// In the order they load; each uses symbols of some before it.
const MODULES_FIRST: [&str; 2] = ["virtio_ring", "virtio"];
const MODULES_PCI: [&str; 3] = ["virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"];
const MODULES_MMIO: [&str; 1] = ["virtio_mmio"];
const MODULES_LAST: [&str; 4] = ["failover", "net_failover", "virtio_net", "virtio_console"];

#[derive(Debug)]
pub struct Peer {
    kernel: PathBuf,
    initrd_pci: PathBuf,
    initrd_mmio: PathBuf,
}

impl Peer {
    /// Fetches what is not there yet, builds the service, and packs. The error says what is
    /// missing.
    pub fn prepare() -> Result<Peer, String> {
        let dir = target_path("peer");
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Peer::pack(&dir, &build_service(&dir)?)
    }

    /// The same around another service, a static binary that takes the same arguments.
    pub fn pack(dir: &Path, service: &Path) -> Result<Peer, String> {
        let image = unpack(dir, &kernel_package()?)?;
        let busybox = unpack(dir, "busybox-static")?.join("bin/busybox");
        let kernel = kernel::unpacked(&image.join("boot"), dir)?;
        let pack = |name: &str, modules_bus: &[&str]| {
            let path = dir.join(name);
            let modules = [&MODULES_FIRST, modules_bus, &MODULES_LAST].concat();
            let archive = initial_files(&image, &busybox, service, &modules)?;
            fs::write(&path, archive).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok::<_, String>(path)
        };
        let initrd_pci = pack("initrd-pci", &MODULES_PCI)?;
        let initrd_mmio = pack("initrd-mmio", &MODULES_MMIO)?;
        Ok(Peer { kernel, initrd_pci, initrd_mmio })
    }

    pub fn guest(&self, machine: Machine) -> Guest {
        let initrd = match machine {
            Machine::Q35 => &self.initrd_pci,
            Machine::Microvm => &self.initrd_mmio,
        };
        Guest {
            kernel: self.kernel.clone(),
            initrd: Some(initrd.clone()),
            command_line: command_line(),
        }
    }
}

/// Each of these was measured to make Linux faster here, or to make no difference and avoid a wait
/// elsewhere. Together they take a quarter off the boot; self-tests of the crypto library are half
/// of that. Security measures that cost time are off, which favours the peer. ACPI stays on:
/// without it a q35 would start a fifth of a second sooner, and could not be switched off.
fn command_line() -> String {
    let mut line = "console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off cryptomgr.notests \
                    no_timer_check noreplace-smp 8250.nr_uarts=1 rodata=off lsm= audit=0 \
                    init_on_alloc=0 rcupdate.rcu_expedited=1 random.trust_cpu=on"
        .to_string();
    if let Some(khz) = tsc_khz() {
        line += &format!(" tsc=reliable tsc_early_khz={khz}");
    }
    line
}

/// One process loads all modules. The device nodes are in the archive, so nothing is mounted.
fn init() -> String {
    let bus_and_net = MODULES_LAST.last().expect("modules");
    format!(
        "#!/bin/busybox sh\n\
         /bin/busybox modprobe {bus_and_net}\n\
         /bin/busybox ifconfig eth0 {GUEST_ADDRESS} netmask 255.255.255.0 up\n\
         /service serve --anonymous --listen 0.0.0.0:{GUEST_PORT} </dev/null >/dev/hvc0 2>&1 &\n\
         wait\n"
    )
}

fn initial_files(
    image: &Path,
    busybox: &Path,
    service: &Path,
    modules: &[&str],
) -> Result<Vec<u8>, String> {
    let modules_dir = only_entry(&image.join("lib/modules"))?;
    let release = file_name(&modules_dir);
    let mut archive = cpio::Archive::default();
    for dir in ["bin", "dev", "lib", "lib/modules", &format!("lib/modules/{release}")] {
        archive.dir(dir);
    }
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    archive.character_device("dev/urandom", 1, 9);
    archive.character_device("dev/hvc0", 229, 0);
    // Each module is said to depend on all before it, the last first, so that naming the last loads
    // all of them in order.
    let mut depends = String::new();
    for (index, module) in modules.iter().enumerate() {
        let name = format!("{module}.ko");
        let path = find_file(&modules_dir.join("kernel"), &name)
            .ok_or_else(|| format!("{name} is not in the kernel package"))?;
        archive.file(&format!("lib/modules/{release}/{name}"), &read(&path)?);
        let before: Vec<String> = modules[..index].iter().map(|m| format!(" {m}.ko")).collect();
        depends += &format!("{name}:{}\n", before.iter().rev().cloned().collect::<String>());
    }
    archive.file(&format!("lib/modules/{release}/modules.dep"), depends.as_bytes());
    archive.file("bin/busybox", &read(busybox)?);
    archive.file("service", &read(service)?);
    archive.file("init", init().as_bytes());
    Ok(archive.finish())
}

/// The service of this repository, static, in a target directory of its own: cargo may be holding
/// the lock on the other one.
fn build_service(dir: &Path) -> Result<PathBuf, String> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target_dir = dir.join("service");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    run(Command::new(cargo)
        .args(["build", "--release", "--bin", "gemmule", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(target_dir.join(TARGET).join("release/gemmule"))
}

/// The metapackage's one dependency: the kernel itself.
fn kernel_package() -> Result<String, String> {
    let depends = run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    package.map(str::to_string).ok_or_else(|| "apt knows no linux-image-cloud-amd64".to_string())
}

/// Fetches and unpacks a Debian package, unless that has been done, and returns its root.
fn unpack(dir: &Path, package: &str) -> Result<PathBuf, String> {
    let root = dir.join(package);
    if root.exists() {
        return Ok(root);
    }
    let debs = dir.join("debs").join(package);
    fs::create_dir_all(&debs).map_err(|error| format!("{}: {error}", debs.display()))?;
    run(Command::new("apt-get").args(["download", package]).current_dir(&debs))?;
    // Under another name until it is whole, so that an interrupted run is not taken for a package.
    let partial = dir.join(format!("{package}.partial"));
    run(Command::new("dpkg-deb").arg("-x").arg(only_entry(&debs)?).arg(&partial))?;
    fs::rename(&partial, &root).map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(root)
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{errors}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn only_entry(dir: &Path) -> Result<PathBuf, String> {
    let mut entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let entry = entries.next().and_then(Result::ok);
    entry.map(|entry| entry.path()).ok_or_else(|| format!("{} is empty", dir.display()))
}

fn find_file(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => find_file(&path, name),
            false => (file_name(&path) == name).then_some(path),
        }
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
