//! A virtual machine under QEMU: the image, or the Linux peer, on the same devices.
//!
//! Needs `qemu-system-x86` (7.2 or newer). Overrides, all environment variables:
//! `QEMU` names the emulator, `GEMMULE_IMAGE` the image, `GEMMULE_ACCEL` the accelerator (kvm,
//! tcg).

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

mod accel;
mod debugger;
pub mod disk;
mod qemu;

pub use accel::{Accel, tsc_khz};

/// What a guest prints on its virtio console once it answers.
const READY: &str = "gemmule: serving on ";

/// The guest's address on either network; QEMU's user network routes it through 10.0.2.2.
pub const GUEST_ADDRESS: &str = "10.0.2.15";
pub const GUEST_PORT: u16 = 8080;

/// Between two looks at a file or a process: well below anything these tests measure.
const GLANCE: Duration = Duration::from_micros(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// Virtio over PCI, booted by SeaBIOS.
    Q35,
    /// Virtio over MMIO, no PCI.
    Microvm,
}

impl Machine {
    pub const ALL: [Machine; 2] = [Machine::Microvm, Machine::Q35];

    pub fn name(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Microvm => "microvm",
        }
    }
}

/// What runs in the machine.
#[derive(Debug, Clone)]
pub struct Guest {
    pub kernel: PathBuf,
    pub initrd: Option<PathBuf>,
    pub command_line: String,
}

impl Guest {
    /// The image as `make image` left it, serving on the guest address. `arguments` go behind those
    /// that every test needs: `""`, or for example `"--tariff test"`.
    pub fn image(arguments: &str) -> Guest {
        let mut command_line = format!(
            "serve --anonymous --address {GUEST_ADDRESS}/24 --gateway 10.0.2.2 --listen :{GUEST_PORT}"
        );
        if !arguments.is_empty() {
            command_line += &format!(" {arguments}");
        }
        if let Some(khz) = tsc_khz() {
            command_line += &format!(" tsc_khz={khz}");
        }
        Guest { kernel: image_path(), initrd: None, command_line }
    }
}

/// Where `make image` leaves the image.
pub fn image_path() -> PathBuf {
    std::env::var_os("GEMMULE_IMAGE").map_or_else(|| target_path("image/gemmule"), PathBuf::from)
}

/// A path below the repository's `target`.
pub fn target_path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(below)
}

#[derive(Debug, Clone, Copy)]
pub enum Network {
    /// QEMU's own TCP/IP stack, with one host port forwarded to the guest's service.
    User,
    /// Ethernet frames, one a UDP datagram on the loopback interface; see `wire`.
    Datagrams { qemu_port: u16, test_port: u16 },
    /// No network card at all.
    None,
}

#[derive(Debug, Clone)]
pub struct VmOptions {
    pub machine: Machine,
    pub guest: Guest,
    pub vcpus: u32,
    pub memory_mib: u32,
    pub network: Network,
    /// The host's port on a user network; 0 takes a free one.
    pub port: u16,
    /// Listen for [`Vm::send_core_astray`].
    pub debugger: bool,
    /// Keep QEMU out of the terminal's reach: an interrupt there is for this process alone.
    pub detached: bool,
    /// A file that is the machine's disk.
    pub disk: Option<PathBuf>,
    /// A disc to start from, by its own boot loader, instead of from the guest's files.
    pub disc: Option<PathBuf>,
    /// Further QEMU options.
    pub extra: Vec<String>,
    /// From spawning QEMU to the ready line.
    pub ready_timeout: Duration,
}

impl VmOptions {
    pub fn new(machine: Machine, guest: Guest) -> VmOptions {
        VmOptions {
            machine,
            guest,
            vcpus: 1,
            memory_mib: 256,
            network: Network::User,
            port: 0,
            debugger: false,
            detached: false,
            disk: None,
            disc: None,
            extra: Vec::new(),
            ready_timeout: Duration::from_secs(60),
        }
    }
}

/// A running machine. Dropping it kills QEMU and removes its files, or, when the test is failing,
/// says where they are.
#[derive(Debug)]
pub struct Vm {
    qemu: Child,
    spawned: Instant,
    ready_after: Duration,
    addr: SocketAddr,
    dir: PathBuf,
}

impl Vm {
    /// Starts QEMU and waits for the guest's ready line.
    ///
    /// # Panics
    /// If the guest ends or the time runs out before.
    pub fn boot(options: &VmOptions) -> Vm {
        Vm::try_boot(options).unwrap_or_else(|report| panic!("{report}"))
    }

    /// The same, but where the guest does not get ready, an error with all that it said.
    pub fn try_boot(options: &VmOptions) -> Result<Vm, String> {
        let mut vm = Vm::spawn(options);
        let deadline = vm.spawned + options.ready_timeout;
        while !vm.console().lines().any(|line| line.starts_with(READY)) {
            let status = vm.qemu.try_wait().expect("QEMU cannot be waited for");
            if status.is_some() || Instant::now() > deadline {
                return Err(format!(
                    "no ready line from the guest ({status:?})\n{}",
                    vm.describe()
                ));
            }
            std::thread::sleep(GLANCE);
        }
        vm.ready_after = vm.spawned.elapsed();
        Ok(vm)
    }

    /// Starts QEMU and waits for nothing: for guests that are expected to refuse or to die.
    pub fn spawn(options: &VmOptions) -> Vm {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gemmule-vm-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a directory for the machine's files");
        let accel = Accel::best();
        let port = if options.port == 0 { free_tcp_port() } else { options.port };
        let log = fs::File::create(dir.join("qemu")).expect("a file for QEMU's messages");
        let mut command = Command::new(qemu::program());
        command
            .args(qemu::arguments(options, accel, port, &dir))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of that file"))
            .stderr(log);
        if options.detached {
            command.process_group(0);
        }
        let spawned = Instant::now();
        let qemu = command.spawn().expect("qemu-system-x86_64 (Debian: qemu-system-x86) starts");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Vm { qemu, spawned, ready_after: Duration::ZERO, addr, dir }
    }

    /// Where the host reaches the service, on a user network. The forwarding listens with a backlog
    /// of one: clients that connect all at once wait for seconds, whatever the guest does.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// From spawning QEMU to seeing the ready line.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// All the guest has written to its virtio console: the ready line and the bill lines.
    pub fn console(&self) -> String {
        self.read("console")
    }

    /// All the guest has written to its serial port: the kernel's messages.
    pub fn serial(&self) -> String {
        self.read("serial")
    }

    /// Waits until a line of the console satisfies `wanted`, and returns it.
    pub fn console_line(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(line) = self.console().lines().find(|line| wanted(line)) {
                return Some(line.to_string());
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Presses the power button.
    pub fn powerdown(&self) -> io::Result<()> {
        self.monitor("system_powerdown").map(drop)
    }

    /// Gives a command to QEMU's monitor and returns its echo and answer.
    pub fn monitor(&self, command: &str) -> io::Result<String> {
        qemu::monitor(&self.dir.join("monitor"), command)
    }

    /// Makes a core go on at an address where there is no memory.
    pub fn send_core_astray(&self, core: u32) -> io::Result<()> {
        debugger::send_core_astray(&self.dir.join("debugger"), core)
    }

    /// QEMU's exit status, or `None` if it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.qemu.try_wait().expect("QEMU cannot be waited for");
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Resident memory of the QEMU process, which is what a VM costs its host.
    pub fn rss_bytes(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("VmRSS in /proc/pid/status") * 1024
    }

    /// Processor time of the QEMU process so far, in user and kernel mode, over all its threads.
    pub fn cpu_time(&self) -> Duration {
        /// Of fields 14 and 15 of /proc/pid/stat; Linux fixes USER_HZ at 100 on x86-64.
        const TICK: Duration = Duration::from_millis(10);
        let stat = self.proc("stat");
        // The second field, the name in brackets, may contain anything; the third follows it.
        let (_, after_name) = stat.rsplit_once(')').expect("a name in /proc/pid/stat");
        let ticks = after_name.split_whitespace().skip(11).take(2);
        TICK * ticks.map(|field| field.parse::<u32>().expect("a number of ticks")).sum()
    }

    /// Everything this machine has said, for the message of a failing test.
    pub fn describe(&self) -> String {
        let tail = |name| {
            let text = self.read(name);
            let at = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            format!("--- {name}\n{}\n", &text[at..])
        };
        ["qemu", "serial", "console"].map(tail).concat()
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.qemu.id());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Either fails only where QEMU has ended already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            eprintln!("the machine's consoles are in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A port that was free a moment ago. Another process may take it before QEMU does; then QEMU says
/// so and ends, and the test fails with its message.
fn free_tcp_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port()
}

pub fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its number").port()
}
