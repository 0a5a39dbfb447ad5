//! Which accelerator QEMU runs with, and the frequency of the counter its guests read.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    Kvm,
    /// QEMU's own translator, one host thread a virtual CPU.
    Tcg,
}

impl Accel {
    /// KVM where it works, tried once a process; `GEMMULE_ACCEL=tcg` or `kvm` decides otherwise.
    pub fn best() -> Accel {
        static BEST: OnceLock<Accel> = OnceLock::new();
        *BEST.get_or_init(|| match std::env::var("GEMMULE_ACCEL").as_deref() {
            Ok("kvm") => Accel::Kvm,
            Ok("tcg") => Accel::Tcg,
            Ok(other) => panic!("GEMMULE_ACCEL={other}: neither kvm nor tcg"),
            Err(_) if kvm_runs() => Accel::Kvm,
            Err(_) => Accel::Tcg,
        })
    }

    /// Without `monitor` the guest idles with HLT: the emulator turns MWAIT into a busy loop as
    /// soon as there is a second virtual CPU.
    pub fn arguments(self) -> &'static str {
        match self {
            Accel::Kvm => "-accel kvm -cpu host",
            Accel::Tcg => "-accel tcg,thread=multi -cpu max,-monitor",
        }
    }
}

/// A firmware of 64 KiB that enters real mode at its last 16 bytes, enables SSE, uses it on a
/// register and on memory, and reports through port 0xf4. The file /dev/kvm proves nothing: inside
/// another virtual machine it may exist and still fail to run exactly this.
fn kvm_runs() -> bool {
    const REPORT: u8 = 0x2a;
    const PROGRAM: &[u8] = &[
        0x0f, 0x20, 0xe0, // mov eax, cr4
        0x66, 0x0d, 0x00, 0x02, 0x00, 0x00, // or eax, 1 << 9 (OSFXSR)
        0x0f, 0x22, 0xe0, // mov cr4, eax
        0x0f, 0x57, 0xc0, // xorps xmm0, xmm0
        0x0f, 0x10, 0x06, 0x00, 0x00, // movups xmm0, [0]
        0xb0, REPORT, // mov al, REPORT
        0xe6, 0xf4, // out 0xf4, al
        0xf4, // hlt
    ];
    const FIRMWARE_BYTES: usize = 0x10000;
    let mut firmware = vec![0x90; FIRMWARE_BYTES];
    firmware[..PROGRAM.len()].copy_from_slice(PROGRAM);
    // jmp to offset 0 of this segment; the next instruction would be at 0xfff3.
    firmware[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    let path = std::env::temp_dir().join(format!("gemmule-kvm-probe-{}", std::process::id()));
    if fs::write(&path, firmware).is_err() {
        return false;
    }
    let child = Command::new(super::qemu::program())
        .args("-M q35 -accel kvm -cpu host -m 16 -nodefaults -no-reboot -display none".split(' '))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let runs = child.is_ok_and(|mut child| {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            std::thread::sleep(super::GLANCE);
            status = child.try_wait().ok().flatten();
        }
        // Both fail only where the child has ended already.
        let _ = child.kill();
        let _ = child.wait();
        // The device exits with the reported value shifted left, and a one.
        status.and_then(|status| status.code()) == Some(i32::from(REPORT) * 2 + 1)
    });
    let _ = fs::remove_file(&path);
    runs
}

/// The frequency of the time-stamp counter, which under both accelerators is the host's own
/// counter, so that a guest told it need not measure it.
///
/// Linux does not export the frequency. But where the counter is constant (`constant_tsc`) the
/// kernel sets loops_per_jiffy to tsc_khz x 1000 / HZ and prints it as
/// bogomips = loops_per_jiffy x HZ / 500000: so bogomips is twice the megahertz.
pub fn tsc_khz() -> Option<u64> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let value = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    if !value("flags")?.split(' ').any(|flag| flag == "constant_tsc") {
        return None;
    }
    let bogomips: f64 = value("bogomips")?.parse().ok()?;
    Some((bogomips * 500.0).round() as u64)
}
