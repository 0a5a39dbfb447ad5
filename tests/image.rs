//! The image in a virtual machine: on both kinds of machine, with one and two cores, over a wire
//! that loses frames, with bad clients, and at its end. `make image` has built it.

mod support;

use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use support::clients::{
    PIPELINED_JOBS, outlast_bad_clients, serve_64_at_once, serve_during_a_long_job,
    serve_expanding, serve_pipelined,
};
use support::http::{self, Client};
use support::transcript::{MEMORY_MIB, SocketWire, TRANSCRIPT_JOBS, replay_all};
use support::triton::run_suite;
use support::vm::{Guest, Machine, Network, Vm, VmOptions};
use support::wire::crowd::Crowd;
use support::wire::{Faults, LossyClient};

/// How long a reply, or an end, may take under an emulator.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A machine that faults must end within a second; the rest is for a busy test machine.
const FAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// The status with which QEMU ends when the guest ends with `code`, which it writes to the exit
/// device.
const fn qemu_status(code: i32) -> i32 {
    code << 1 | 1
}

fn options(machine: Machine, vcpus: u32) -> VmOptions {
    let guest = Guest::image(&format!("--memory-mib {MEMORY_MIB}"));
    VmOptions { vcpus, memory_mib: 128, ..VmOptions::new(machine, guest) }
}

/// What every machine must do: say what the transcripts say, serve many, print their bills, and
/// power off when told.
fn serve_and_power_off(machine: Machine, vcpus: u32) {
    let mut vm = Vm::boot(&options(machine, vcpus));
    let addr = vm.addr();
    replay_all(|| Box::new(SocketWire::connect(addr)));
    serve_pipelined(addr);
    serve_64_at_once(addr, 1_000);
    vm.powerdown().expect("the monitor answers");
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
    assert_eq!(status.code(), Some(0), "{}", vm.describe());
    let bills = vm.console().lines().filter(|line| line.starts_with("bill ")).count();
    assert_eq!(bills, TRANSCRIPT_JOBS + PIPELINED_JOBS + 1_000, "a line for every job");
}

#[test]
fn q35_with_one_core() {
    serve_and_power_off(Machine::Q35, 1);
}

#[test]
fn q35_with_two_cores() {
    serve_and_power_off(Machine::Q35, 2);
}

#[test]
fn microvm_with_one_core() {
    serve_and_power_off(Machine::Microvm, 1);
}

#[test]
fn microvm_with_two_cores() {
    serve_and_power_off(Machine::Microvm, 2);
}

#[test]
fn bad_clients_are_freed_while_others_are_served() {
    let vm = Vm::boot(&VmOptions::new(Machine::Microvm, Guest::image("")));
    // The emulator hands on to sockets of the loopback interface, which hold up to 10 MiB between
    // them; this reply is 20.
    outlast_bad_clients(vm.addr(), 1_000);
}

#[test]
fn a_long_job_does_not_starve_the_network() {
    for vcpus in [1, 2] {
        let vm = Vm::boot(&options(Machine::Microvm, vcpus));
        serve_during_a_long_job(vm.addr(), 200);
    }
}

#[test]
fn a_body_that_expands_much_comes_in_turns() {
    let vm = Vm::boot(&options(Machine::Microvm, 1));
    serve_expanding(vm.addr(), 2 << 20);
}

#[test]
fn the_published_client_of_the_inference_protocol_gets_its_products() {
    let vm = Vm::boot(&options(Machine::Microvm, 2));
    run_suite(vm.addr(), &["--small"]);
}

#[test]
fn frames_lost_on_the_wire_lose_nothing() {
    for (machine, vcpus) in [(Machine::Q35, 1), (Machine::Microvm, 2)] {
        let faults = Faults { drop: 30, duplicate: 10, reorder: 20 };
        let mut client = LossyClient::bind(faults, 7).expect("a wire");
        let network = client.network();
        let vm = Vm::boot(&VmOptions { network, ..options(machine, vcpus) });
        for number in 0..30 {
            // Some hundred numbers: several frames each way.
            let row = vec![number.to_string(); 300].join(",");
            let column = vec!["[1]"; 300].join(",");
            let job = format!("{{\"a\":[[{row}]],\"b\":[{column}]}}");
            let reply = client.post_job(&job, TIMEOUT);
            let reply = reply.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe())).json();
            assert_eq!(reply["c"][0][0], f64::from(300 * number));
            assert_eq!(reply["bill"]["flops"], 600);
        }
        // Several times what a connection's own buffers hold, in and out: they are exchanged for
        // large ones while segments are missing.
        for (query, body_bytes, product_bytes) in
            [("a=1x8192&b=8192x1", 131_072, 8), ("a=128x1&b=1x128", 2048, 131_072)]
        {
            let body = vec![0; body_bytes];
            let fields = [("Content-Type", "application/octet-stream")];
            let target = format!("/v1/multiply?{query}");
            let request = http::write_request("POST", &target, &fields, Some(&body));
            let reply = client.exchange(&request, TIMEOUT);
            let reply = reply.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe()));
            assert_eq!((reply.status, reply.body.len()), (200, product_bytes));
        }
        for tally in client.tallies() {
            assert!(tally.dropped > 0, "the wire lost frames both ways");
        }
        drop(vm);
    }
}

#[test]
fn a_peer_that_ignores_the_window_harms_nobody() {
    let mut client = LossyClient::bind(Faults::default(), 1).expect("a wire");
    let network = client.network();
    let vm = Vm::boot(&VmOptions { network, ..options(Machine::Microvm, 1) });
    for port in 1_000..1_020 {
        let flooded = client.flood(port, 60, TIMEOUT);
        flooded.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe()));
    }
    let reply = client.post_job("{\"a\":[[6]],\"b\":[[7]]}", TIMEOUT);
    let reply = reply.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe()));
    assert_eq!(reply.json()["c"][0][0], 42.0);
}

#[test]
fn a_thousand_connections_are_open_at_once() {
    let mut crowd = Crowd::bind().expect("a wire");
    let network = crowd.network();
    let guest = Guest::image("");
    let vm = Vm::boot(&VmOptions { network, ..VmOptions::new(Machine::Microvm, guest) });
    for number in 0..1_000 {
        let opened = crowd.open(TIMEOUT);
        opened.unwrap_or_else(|error| panic!("{number}: {error}\n{}", vm.describe()));
    }
    let answered = crowd.jobs_per_second(1_000, 2_000, TIMEOUT);
    answered.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe()));
}

#[test]
fn dhcp_and_the_least_memory() {
    for machine in [Machine::Q35, Machine::Microvm] {
        let guest =
            Guest { command_line: "serve --anonymous --listen :8080".into(), ..Guest::image("") };
        let vm = Vm::boot(&VmOptions { memory_mib: 64, ..VmOptions::new(machine, guest) });
        let mut client = Client::connect(vm.addr(), TIMEOUT).expect("a connection");
        let reply = client.post_job("{\"a\":[[6]],\"b\":[[7]]}").expect("a reply");
        assert_eq!(reply.json()["c"][0][0], 42.0);
    }
}

/// The same file that QEMU boots directly, started by a boot loader from a disc.
#[test]
fn grub_boots_it_from_a_disc() {
    let guest = Guest::image("");
    let folder = env::temp_dir().join(format!("gemmule-grub-{}", std::process::id()));
    let grub = folder.join("files/boot/grub");
    fs::create_dir_all(&grub).expect("a folder");
    fs::copy(&guest.kernel, folder.join("files/boot/gemmule")).expect("the image is there");
    let menu = format!("multiboot2 /boot/gemmule {}\nboot\n", guest.command_line);
    fs::write(grub.join("grub.cfg"), menu).expect("a file");
    let disc = folder.join("disc.iso");
    let output = Command::new("grub-mkrescue")
        .arg("-o")
        .args([&disc, &folder.join("files")])
        .output()
        .expect("grub-mkrescue (Debian: grub-common, grub-pc-bin, xorriso, mtools) runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let options = VmOptions { disc: Some(disc), ..options(Machine::Q35, 2) };
    let mut vm = Vm::boot(&options);
    let mut client = Client::connect(vm.addr(), TIMEOUT).expect("a connection");
    let reply = client.post_job("{\"a\":[[6]],\"b\":[[7]]}").expect("a reply");
    assert_eq!(reply.json()["c"][0][0], 42.0);
    vm.powerdown().expect("the monitor answers");
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
    assert_eq!(status.code(), Some(0), "{}", vm.describe());
    fs::remove_dir_all(&folder).expect("the folder is there");
}

/// Through QEMU's debugger a core is sent to an address where nothing is: the one that does the
/// I/O, and one that computes. It faults when something wakes it.
#[test]
fn a_fault_ends_the_machine_with_its_reason() {
    for (machine, core) in [(Machine::Q35, 0), (Machine::Microvm, 0), (Machine::Microvm, 1)] {
        let mut vm = Vm::boot(&VmOptions { debugger: true, ..options(machine, 2) });
        let addr = vm.addr();
        let mut client = Client::connect(addr, FAULT_TIMEOUT).expect("a connection");
        vm.send_core_astray(core).expect("the debugger answers");
        // Large enough for a compute core, which may get it done before it goes on where it was
        // sent; so there may be a reply or none.
        let row = format!("[{}]", vec!["1"; 150].join(","));
        let matrix = format!("[{}]", vec![row.as_str(); 150].join(","));
        let _ = client.post_job(&format!("{{\"a\":{matrix},\"b\":{matrix}}}"));
        let status = vm.wait(FAULT_TIMEOUT).unwrap_or_else(|| panic!("{}", vm.describe()));
        assert_eq!(status.code(), Some(qemu_status(17)), "{}", vm.describe());
        let reason = "fatal: page fault at rip 0x666600000000";
        let line = vm.serial().lines().find(|line| line.starts_with(reason)).map(str::to_string);
        let line = line.unwrap_or_else(|| panic!("no reason\n{}", vm.describe()));
        assert!(line.ends_with(&format!("core {core}")), "{line}");
    }
}

#[test]
fn what_can_not_run_ends_with_a_status_and_a_reason() {
    for (command_line, memory_mib, code, reason) in [
        ("serve --loud", 64, 2, "\"--loud\" is not an option"),
        ("job /nowhere/in.json", 64, 1, "/nowhere/in.json"),
        ("serve --gateway 10.0.2.2", 64, 1, "--gateway is given without --address"),
        ("serve --listen :0", 64, 1, "port 0"),
        ("serve", 20, 1, "no contiguous"),
    ] {
        let guest = Guest { command_line: command_line.into(), ..Guest::image("") };
        let mut vm =
            Vm::spawn(&VmOptions { memory_mib, ..VmOptions::new(Machine::Microvm, guest) });
        let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("{}", vm.describe()));
        assert_eq!(status.code(), Some(qemu_status(code)), "{command_line}\n{}", vm.describe());
        assert!(vm.serial().contains(reason), "{command_line}\n{}", vm.describe());
    }
}

/// Each core needs stacks of the kernel's, for which so little memory has no room.
#[test]
fn a_panic_of_the_kernel_ends_the_machine_with_its_reason() {
    let options = VmOptions { memory_mib: 64, ..options(Machine::Microvm, 32) };
    let mut vm = Vm::spawn(&options);
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
    assert_eq!(status.code(), Some(qemu_status(19)), "{}", vm.describe());
    let reason = "fatal: kernel panic: Failed to allocate Physical Memory for TaskStacks";
    assert!(vm.serial().lines().any(|line| line.starts_with(reason)), "{}", vm.describe());
}

#[test]
fn a_damaged_image_says_so() {
    let mut guest = Guest::image("");
    let mut image = fs::read(&guest.kernel).expect("the image is there");
    // The application fills all but the beginning.
    let middle = image.len() / 2;
    image[middle] ^= 1;
    let path = env::temp_dir().join(format!("gemmule-damaged-{}", std::process::id()));
    fs::write(&path, image).expect("a file");
    guest.kernel = path.clone();
    let mut vm = Vm::spawn(&VmOptions::new(Machine::Microvm, guest));
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("{}", vm.describe()));
    assert_eq!(status.code(), Some(qemu_status(20)), "{}", vm.describe());
    assert!(vm.serial().contains("the embedded application is damaged"), "{}", vm.describe());
    fs::remove_file(&path).expect("the file is there");
}

/// The emulator has AVX2 and no AVX-512.
#[test]
fn its_kernels_multiply_right() {
    let guest = Guest { command_line: "check".into(), ..Guest::image("") };
    let mut vm = Vm::spawn(&VmOptions::new(Machine::Microvm, guest));
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("{}", vm.describe()));
    assert_eq!(status.code(), Some(0), "{}", vm.describe());
    let serial = vm.serial();
    for kernel in ["avx2 f64", "avx2 f32", "portable f64", "portable f32", "matrixmultiply f64"] {
        let line = format!("{kernel}: 872 products exact");
        assert!(serial.contains(&line), "{kernel}\n{}", vm.describe());
    }
}

#[test]
fn a_machine_without_a_network_says_so() {
    let network = Network::None;
    let mut vm = Vm::spawn(&VmOptions { network, ..options(Machine::Microvm, 1) });
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("{}", vm.describe()));
    assert_eq!(status.code(), Some(qemu_status(1)), "{}", vm.describe());
    assert!(vm.serial().contains("network"), "{}", vm.describe());
}
