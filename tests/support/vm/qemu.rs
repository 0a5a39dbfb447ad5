//! How QEMU is called, and how it is spoken to.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::super::http;
use super::{Accel, GUEST_ADDRESS, GUEST_PORT, Guest, Machine, Network, VmOptions};

pub fn program() -> String {
    std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_string())
}

/// Nothing but the devices named here exists (`-nodefaults`), and no network card has a boot ROM to
/// run (`romfile=`). A microvm leaves out the two legacy interrupt chips, which no guest here uses;
/// its clock stays. An end of the guest ends QEMU: never a reboot, and a status through 0xf4.
///
/// Under the emulator a virtual CPU serves its own notifications (`ioeventfd=off`, which is what
/// QEMU does there over MMIO anyway): handing each to another thread halves what a guest gets done,
/// and Linux spins while its console waits for that thread.
///
/// `port` is the host's, forwarded on a user network; `dir` is where the files go.
pub fn arguments(options: &VmOptions, accel: Accel, port: u16, dir: &Path) -> Vec<String> {
    let (machine, bus, rom) = match options.machine {
        Machine::Q35 => ("q35", "pci", ",romfile="),
        Machine::Microvm => ("microvm,pic=off,pit=off,rtc=on,isa-serial=on", "device", ""),
    };
    let notify = match (options.machine, accel) {
        (Machine::Q35, Accel::Tcg) => ",ioeventfd=off",
        _ => "",
    };
    let backend = match options.network {
        Network::User => {
            Some(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-{GUEST_ADDRESS}:{GUEST_PORT}"))
        }
        Network::Datagrams { qemu_port, test_port } => Some(format!(
            "dgram,id=net,local.type=inet,local.host=127.0.0.1,local.port={qemu_port},\
             remote.type=inet,remote.host=127.0.0.1,remote.port={test_port}"
        )),
        Network::None => None,
    };
    let network = backend.map_or_else(String::new, |backend| {
        format!("-netdev {backend} -device virtio-net-{bus},netdev=net{rom}{notify}")
    });
    let dir = dir.display();
    let mut arguments: Vec<String> = format!(
        "-M {machine} {} -smp {} -m {} -nodefaults -no-user-config -no-reboot -display none \
         -monitor unix:{dir}/monitor,server=on,wait=off -serial file:{dir}/serial \
         {network} -device virtio-rng-{bus}{notify} -device isa-debug-exit,iobase=0xf4,iosize=4 \
         -chardev file,id=console,path={dir}/console \
         -device virtio-serial-{bus},max_ports=1{notify} -device virtconsole,chardev=console",
        accel.arguments(),
        options.vcpus,
        options.memory_mib,
    )
    .split_whitespace()
    .map(str::to_string)
    .collect();
    if options.debugger {
        let socket = format!("unix:{dir}/debugger,server=on,wait=off");
        arguments.extend(["-gdb".to_string(), socket]);
    }
    if let Some(disk) = &options.disk {
        // What the guest flushes, QEMU flushes to the file's medium before it answers. In an option
        // a comma is written twice.
        let file = disk.display().to_string().replace(',', ",,");
        arguments.extend([
            "-drive".to_string(),
            format!("if=none,id=disk,format=raw,cache=writeback,file={file}"),
            "-device".to_string(),
            format!("virtio-blk-{bus},drive=disk{notify}"),
        ]);
    }
    match &options.disc {
        Some(disc) => arguments.extend(["-cdrom".to_string(), disc.display().to_string()]),
        None => arguments.extend(direct_boot(&options.guest)),
    }
    arguments.extend(options.extra.iter().cloned());
    arguments
}

/// Boots the guest's own files, without a boot loader.
fn direct_boot(guest: &Guest) -> Vec<String> {
    let kernel = guest.kernel.display().to_string();
    let mut arguments = vec!["-kernel".to_string(), kernel];
    arguments.extend(["-append".to_string(), guest.command_line.clone()]);
    if let Some(initrd) = &guest.initrd {
        arguments.extend(["-initrd".to_string(), initrd.display().to_string()]);
    }
    arguments
}

/// Gives a command to the monitor listening at `socket` and returns its echo and answer.
pub fn monitor(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    read_to_prompt(&mut stream)?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    read_to_prompt(&mut stream)
}

/// Reads until the monitor asks for a command, or has ended. Hanging up earlier would lose the
/// command: QEMU drops what it has not yet read when its peer is gone.
fn read_to_prompt(stream: &mut UnixStream) -> io::Result<String> {
    const PROMPT: &[u8] = b"(qemu) ";
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.ends_with(PROMPT) {
        match http::read(stream, &mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
