//! AVX-512 is turned on once threads have been seen to keep their registers.
//!
//! A kernel that forgets part of a thread's registers spoils products silently, on a processor that
//! nobody tried it on. So on every core two threads hold patterns of their own in all vector
//! registers while they yield to each other and while the timer takes the core from one of them.
//! Then a third must find the registers as after a reset. Where one thing differs, AVX-512 is
//! turned off again, and who asks by XGETBV what may be used learns that too: so this comes before
//! anybody asks. It takes about a millisecond. An emulator without AVX-512 would need tens: there,
//! and wherever else AVX-512 is missing, nothing is tried.

use std::arch::{asm, naked_asm, x86_64};
use std::fmt;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use super::fault::Fault;

/// How often each of two threads yields to the other.
const YIELDS: u32 = 32;
/// How often the timer must take the core from one of them, and after how many wake-ups at most.
const PREEMPTIONS: u32 = 8;
const WAKEUPS_MAX: u32 = 64;
/// How long one sleeps: long enough for the other to have begun to compute. Where it was not, twice
/// as long, which an emulator needs.
const SLEEP_NS: u32 = 50_000;
const SLEEP_NS_MAX: u32 = 4_000_000;
/// How often one looks for the other's wake-up before it takes it that it came too early.
const LOOKS_MAX: usize = 1 << 13;

/// The kernel's normal priority, its threads' least stack, and its flag for a time from now on.
const PRIORITY: u8 = 2;
const STACK_BYTES: usize = 64 * 1024;
const FUTEX_RELATIVE: u32 = 1;

unsafe extern "C" {
    safe fn sys_set_avx512(on: bool) -> bool;
    safe fn sys_yield();
    fn sys_futex_wait(
        word: *const AtomicU32,
        expected: u32,
        timeout: *const Timespec,
        flags: u32,
    ) -> i32;
    fn sys_spawn2(
        body: extern "C" fn(usize),
        argument: usize,
        priority: u8,
        stack_bytes: usize,
        core: isize,
    ) -> i32;
    safe fn sys_join(thread: i32) -> i32;
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i32,
}

/// Turns AVX-512 on for good if it is there and all goes well, and says so on the console. If it
/// goes wrong AVX's registers are in doubt too; an error if not even those are kept.
pub fn start() -> Result<(), Fault> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    if !has_avx512() || !set_avx512(cores, true) {
        return Ok(());
    }
    match prove(cores, Width::Avx512) {
        Ok(proof) => println!("gemmule: AVX-512 is on: {proof}"),
        Err(flaw) => {
            set_avx512(cores, false);
            println!("gemmule: AVX-512 is off: {flaw}");
            let proof = prove(cores, Width::Avx);
            let proof = proof.map_err(|flaw| Fault::Threads(flaw.to_string()))?;
            println!("gemmule: AVX is on: {proof}");
        }
    }
    Ok(())
}

/// Whether the kernel turned XSAVE on, and the processor has AVX-512 with masks of 64 bits, as all
/// server processors with AVX-512 do. Without BW this test could not fill the masks.
fn has_avx512() -> bool {
    const OSXSAVE_AVX: u32 = 1 << 27 | 1 << 28;
    const F_BW: u32 = 1 << 16 | 1 << 30;
    x86_64::__cpuid(1).ecx & OSXSAVE_AVX == OSXSAVE_AVX
        && x86_64::__cpuid(0).eax >= 7
        && x86_64::__cpuid_count(7, 0).ebx & F_BW == F_BW
}

/// Whether AVX-512 is `on` on every core now. Should one refuse, it's off on all.
fn set_avx512(cores: usize, on: bool) -> bool {
    extern "C" fn body(argument: usize) {
        // SAFETY: `on_core` got this from the reference below and ends before that does.
        let switch = unsafe { &*ptr::with_exposed_provenance::<AtomicBool>(argument) };
        let on = sys_set_avx512(switch.load(Ordering::Relaxed));
        switch.store(on, Ordering::Relaxed);
    }
    let all_on = (0..cores).all(|core| {
        let switch = AtomicBool::new(on);
        join(on_core(core, body, &switch));
        switch.load(Ordering::Relaxed)
    });
    if on && !all_on {
        set_avx512(cores, false);
    }
    all_on
}

/// Starts a thread on `core`. The caller keeps `argument` until it has joined the thread.
fn on_core<T: Sync>(core: usize, body: extern "C" fn(usize), argument: &T) -> i32 {
    let argument = ptr::from_ref(argument).expose_provenance();
    // SAFETY: the body takes this argument, and what it points to outlives the thread.
    unsafe { sys_spawn2(body, argument, PRIORITY, STACK_BYTES, core as isize) }
}

fn join(thread: i32) {
    assert_eq!(sys_join(thread), 0, "the thread was started here");
}

/// What was seen, all cores together.
struct Proof {
    cores: usize,
    yields: u32,
    preemptions: u32,
    took_us: u128,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, yields, preemptions, took_us } = self;
        write!(f, "threads kept their registers over {yields} yields and {preemptions} ")?;
        write!(f, "preemptions on {cores} core(s), tried in {took_us} us")
    }
}

/// What was seen instead.
enum Flaw {
    /// A thread found something else in its registers than it had left.
    Lost { core: usize, phase: &'static str },
    /// The threads hardly ever took turns, so nothing is proven.
    Untried { core: usize, yields: u32, preemptions: u32 },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { core, phase } => {
                write!(f, "a thread lost vector registers {phase} on core {core}")
            }
            Self::Untried { core, yields, preemptions } => {
                write!(
                    f,
                    "threads took turns over {yields} yields and {preemptions} preemptions "
                )?;
                write!(f, "only on core {core}")
            }
        }
    }
}

/// Tries all cores at once: where there are many, one after the other would take long.
fn prove(cores: usize, width: Width) -> Result<Proof, Flaw> {
    let began = Instant::now();
    let pairs: Vec<Pair> = (0..cores).map(|_| Pair::new(width)).collect();
    let mut threads = Vec::new();
    for (core, pair) in pairs.iter().enumerate() {
        threads.push(on_core(core, lead, pair));
        threads.push(on_core(core, partner, pair));
    }
    threads.drain(..).for_each(join);
    threads.extend(pairs.iter().enumerate().map(|(core, pair)| on_core(core, newcomer, pair)));
    threads.drain(..).for_each(join);

    let (mut yields, mut preemptions) = (0, 0);
    for (core, pair) in pairs.iter().enumerate() {
        let lost = [
            (&pair.lost_in_yield, "when it yielded"),
            (&pair.lost_in_preemption, "when the timer let another run"),
            (&pair.leaked, "to another that began"),
        ];
        if let Some((_, phase)) = lost.iter().find(|(lost, _)| lost.load(Ordering::Relaxed)) {
            return Err(Flaw::Lost { core, phase });
        }
        let seen = (pair.yields.load(Ordering::Relaxed), pair.preemptions.load(Ordering::Relaxed));
        if seen.0 < YIELDS || seen.1 < PREEMPTIONS {
            return Err(Flaw::Untried { core, yields: seen.0, preemptions: seen.1 });
        }
        yields += seen.0;
        preemptions += seen.1;
    }
    Ok(Proof { cores, yields, preemptions, took_us: began.elapsed().as_micros() })
}

/// What two threads of one core share.
struct Pair {
    width: Width,
    /// The first thread sleeps until the second has begun: a core that never idles begins none.
    begun: Barrier,
    /// The rounds that both have done together. It changes while a thread holds its registers if,
    /// and only if, the other ran.
    rounds: AtomicU32,
    /// The partner's sleeps so far, how long the next is, and whether the last is over.
    wakeups: AtomicU32,
    sleep_ns: AtomicU32,
    done: AtomicBool,
    /// How often a thread saw the other run meanwhile.
    yields: AtomicU32,
    preemptions: AtomicU32,
    lost_in_yield: AtomicBool,
    lost_in_preemption: AtomicBool,
    leaked: AtomicBool,
}

impl Pair {
    fn new(width: Width) -> Self {
        Self {
            width,
            begun: Barrier::new(2),
            rounds: AtomicU32::new(0),
            wakeups: AtomicU32::new(0),
            sleep_ns: AtomicU32::new(SLEEP_NS),
            done: AtomicBool::new(false),
            yields: AtomicU32::new(0),
            preemptions: AtomicU32::new(0),
            lost_in_yield: AtomicBool::new(false),
            lost_in_preemption: AtomicBool::new(false),
            leaked: AtomicBool::new(false),
        }
    }

    /// SAFETY: as in `on_core`: `argument` is a pair that outlives the thread.
    unsafe fn of<'a>(argument: usize) -> &'a Self {
        // SAFETY: the caller's promise.
        unsafe { &*ptr::with_exposed_provenance::<Self>(argument) }
    }

    /// Yields to the other with the registers full.
    fn take_turns(&self, seed: u64) {
        self.begun.wait();
        for round in 0..YIELDS {
            let before = self.rounds.fetch_add(1, Ordering::Relaxed) + 1;
            let pattern = Registers::pattern(self.width, seed + u64::from(round));
            // SAFETY: `sys_yield` takes no arguments.
            let seen = unsafe { self.width.hold(&pattern, sys_yield as *const (), [0; 4]) };
            if seen != pattern {
                self.lost_in_yield.store(true, Ordering::Relaxed);
            }
            if self.rounds.load(Ordering::Relaxed) != before {
                self.yields.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Seeds far enough apart that no pattern is used twice.
const LEAD_SEED: u64 = 1 << 32;
const PARTNER_SEED: u64 = 2 << 32;
const PREEMPTION_SEED: u64 = 1 << 16;

/// Computes, as far as the kernel can tell, until its partner's last wake-up.
extern "C" fn lead(argument: usize) {
    // SAFETY: `prove` passes a pair and joins this thread.
    let pair = unsafe { Pair::of(argument) };
    pair.take_turns(LEAD_SEED);
    while !pair.done.load(Ordering::Relaxed) {
        let wakeups = pair.wakeups.load(Ordering::Relaxed);
        let seed = LEAD_SEED + PREEMPTION_SEED + u64::from(wakeups);
        let pattern = Registers::pattern(pair.width, seed);
        let word = ptr::from_ref(&pair.wakeups).expose_provenance();
        let arguments = [word, wakeups as usize, LOOKS_MAX, 0];
        // SAFETY: these are the arguments of `look`; the word is the pair's.
        let seen = unsafe { pair.width.hold(&pattern, look as *const (), arguments) };
        if seen != pattern {
            pair.lost_in_preemption.store(true, Ordering::Relaxed);
        }
        if pair.wakeups.load(Ordering::Relaxed) != wakeups {
            pair.preemptions.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // The partner is either asleep, or it was woken before this thread had the core, and
        // there is no interrupt to come.
        sys_yield();
        if pair.wakeups.load(Ordering::Relaxed) != wakeups {
            let longer = SLEEP_NS_MAX.min(2 * pair.sleep_ns.load(Ordering::Relaxed));
            pair.sleep_ns.store(longer, Ordering::Relaxed);
        }
    }
}

/// Sleeps with its registers full, again and again, so that the timer takes the core from the lead.
extern "C" fn partner(argument: usize) {
    // SAFETY: `prove` passes a pair and joins this thread.
    let pair = unsafe { Pair::of(argument) };
    pair.take_turns(PARTNER_SEED);
    let nobody_wakes = AtomicU32::new(0);
    for wakeup in 0..WAKEUPS_MAX {
        if pair.preemptions.load(Ordering::Relaxed) == PREEMPTIONS {
            break;
        }
        let nanoseconds = pair.sleep_ns.load(Ordering::Relaxed) as i32;
        let timeout = Timespec { seconds: 0, nanoseconds };
        let seed = PARTNER_SEED + PREEMPTION_SEED + u64::from(wakeup);
        let pattern = Registers::pattern(pair.width, seed);
        let word = ptr::from_ref(&nobody_wakes).expose_provenance();
        let timeout = ptr::from_ref(&timeout).expose_provenance();
        let arguments = [word, 0, timeout, FUTEX_RELATIVE as usize];
        // SAFETY: these are the arguments of `sys_futex_wait`; both pointers are to locals.
        let seen = unsafe { pair.width.hold(&pattern, sys_futex_wait as *const (), arguments) };
        if seen != pattern {
            pair.lost_in_preemption.store(true, Ordering::Relaxed);
        }
        pair.wakeups.fetch_add(1, Ordering::Relaxed);
    }
    pair.done.store(true, Ordering::Relaxed);
}

/// Looks into its registers before it used any that this program's code does not use by itself.
extern "C" fn newcomer(argument: usize) {
    // SAFETY: `prove` passes a pair and joins this thread.
    let pair = unsafe { Pair::of(argument) };
    // SAFETY: `prove` chose a width that the processor has.
    if unsafe { pair.width.look_untouched() } {
        return;
    }
    pair.leaked.store(true, Ordering::Relaxed);
}

/// Returns when `*word` is not `expected` any more, at the latest after some looks. Between two
/// looks nothing is called, so another thread of this core runs only by an interrupt.
#[unsafe(naked)]
extern "C" fn look(word: *const AtomicU32, expected: u32, looks_max: usize) {
    naked_asm!("2:", "cmp [rdi], esi", "jne 3f", "pause", "dec rdx", "jnz 2b", "3:", "ret")
}

/// The registers of all widths. What a width has not got stays zero.
#[repr(C, align(64))]
#[derive(Clone, PartialEq, Eq)]
struct Registers {
    vectors: [[u64; 8]; 32],
    masks: [u64; 8],
}

const MASKS_OFFSET: usize = 32 * 64;
const _: () = assert!(std::mem::offset_of!(Registers, masks) == MASKS_OFFSET);

impl Registers {
    const ZERO: Self = Self { vectors: [[0; 8]; 32], masks: [0; 8] };

    /// Each word tells where it belongs.
    fn pattern(width: Width, seed: u64) -> Self {
        let word = |index: usize| (seed << 9 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut registers = Self::ZERO;
        let (vectors, words, masks) = match width {
            Width::Avx => (16, 4, 0),
            Width::Avx512 => (32, 8, 8),
        };
        for (index, vector) in registers.vectors[..vectors].iter_mut().enumerate() {
            for (part, value) in vector[..words].iter_mut().enumerate() {
                *value = word(8 * index + part);
            }
        }
        for (index, value) in registers.masks[..masks].iter_mut().enumerate() {
            *value = word(8 * 32 + index);
        }
        registers
    }
}

/// Which registers there are: 16 of 32 bytes, or 32 of 64 bytes and 8 masks.
#[derive(Clone, Copy)]
enum Width {
    Avx,
    Avx512,
}

/// One instruction for each register: assembler, where `\i` is the register's number.
macro_rules! for_low {
    ($line:literal) => {
        concat!(".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n", $line, "\n.endr\n")
    };
}
macro_rules! for_high {
    ($line:literal) => {
        concat!(".irp i,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n", $line, "\n.endr\n")
    };
}
macro_rules! for_masks {
    ($line:literal) => {
        concat!(".irp i,0,1,2,3,4,5,6,7\n", $line, "\n.endr\n")
    };
}

impl Width {
    /// Fills the registers, calls the function, and returns what the registers hold then. They
    /// stay full, for the next thread to find if nobody saves them.
    ///
    /// # Safety
    ///
    /// The processor has these registers. `function` takes `arguments` and uses no vector register:
    /// the kernel's functions don't.
    unsafe fn hold(
        self,
        pattern: &Registers,
        function: *const (),
        arguments: [usize; 4],
    ) -> Registers {
        let mut seen = Registers::ZERO;
        let [first, second, third, fourth] = arguments;
        macro_rules! hold {
            ([$($line:expr),+] $($operand:tt)*) => {
                // SAFETY: reads the pattern, writes as much, and clobbers what a call may clobber,
                // which is all vector registers.
                unsafe {
                    asm!(
                        $($line),+,
                        $($operand)*
                        function = in(reg) function,
                        in("rdi") first,
                        in("rsi") second,
                        in("rdx") third,
                        in("rcx") fourth,
                        in("r12") pattern,
                        in("r13") &mut seen,
                        clobber_abi("sysv64"),
                    )
                }
            };
        }
        match self {
            Self::Avx => hold!([
                for_low!("vmovdqu ymm\\i, [r12 + 64 * \\i]"),
                "call {function}",
                for_low!("vmovdqu [r13 + 64 * \\i], ymm\\i")
            ]),
            Self::Avx512 => hold!([
                for_low!("vmovdqu64 zmm\\i, [r12 + 64 * \\i]"),
                for_high!("vmovdqu64 zmm\\i, [r12 + 64 * \\i]"),
                for_masks!("kmovq k\\i, [r12 + {masks} + 8 * \\i]"),
                "call {function}",
                for_low!("vmovdqu64 [r13 + 64 * \\i], zmm\\i"),
                for_high!("vmovdqu64 [r13 + 64 * \\i], zmm\\i"),
                for_masks!("kmovq [r13 + {masks} + 8 * \\i], k\\i")
            ] masks = const MASKS_OFFSET,),
        }
        seen
    }

    /// Whether the registers are zero that code without AVX does not touch: the upper halves of the
    /// low ones, the high ones, and the masks.
    ///
    /// # Safety
    ///
    /// The processor has these registers.
    unsafe fn look_untouched(self) -> bool {
        let mut seen = Registers::ZERO;
        match self {
            // SAFETY: writes to `seen` only.
            Self::Avx => unsafe {
                asm!(for_low!("vmovdqu [r13 + 64 * \\i], ymm\\i"), in("r13") &mut seen);
            },
            // SAFETY: writes to `seen` only.
            Self::Avx512 => unsafe {
                asm!(
                    for_low!("vmovdqu64 [r13 + 64 * \\i], zmm\\i"),
                    for_high!("vmovdqu64 [r13 + 64 * \\i], zmm\\i"),
                    for_masks!("kmovq [r13 + {masks} + 8 * \\i], k\\i"),
                    masks = const MASKS_OFFSET,
                    in("r13") &mut seen,
                );
            },
        }
        for vector in &mut seen.vectors[..16] {
            vector[..2].fill(0);
        }
        seen == Registers::ZERO
    }
}
