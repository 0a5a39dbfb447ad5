//! What the CPU has: its vector instructions and its caches, asked once.

use core::sync::atomic::{AtomicUsize, Ordering};

/// The instruction sets that there are microkernels for, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// 512-bit vectors: AVX-512 F.
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// Whatever the compiler makes of plain Rust.
    Portable,
}

impl Isa {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether the CPU has it, and the operating system saves its registers.
    pub fn is_here(self) -> bool {
        self >= isa()
    }
}

/// The data caches that one core can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    pub l1_bytes: usize,
    pub l2_bytes: usize,
    /// What is not found there again is best written past them. AMD's cores gather such writes and
    /// are done; Intel's keep one of a dozen buffers for each cache line until memory has it, and
    /// write through their second-level cache a quarter faster, however much it is.
    pub are_best_bypassed: bool,
}

impl Caches {
    /// What nearly every x86-64 core of the last ten years has at least.
    const L1_BYTES_USUAL: usize = 32 << 10;
    const L2_BYTES_USUAL: usize = 256 << 10;

    /// Emulators and hypervisors make up sizes, or give none. A size that no core has had is
    /// replaced by the usual one.
    fn or_usual(self) -> Self {
        let or = |bytes: usize, sane: core::ops::RangeInclusive<usize>, usual: usize| {
            if sane.contains(&bytes) { bytes } else { usual }
        };
        Self {
            l1_bytes: or(self.l1_bytes, 16 << 10..=256 << 10, Self::L1_BYTES_USUAL),
            l2_bytes: or(self.l2_bytes, 128 << 10..=16 << 20, Self::L2_BYTES_USUAL),
            ..self
        }
    }
}

/// What was found, zero before. CPUID traps in a virtual machine and costs microseconds there, so
/// it is asked once; threads that ask at the same time write the same.
static FOUND_ISA: AtomicUsize = AtomicUsize::new(0);
static FOUND_BIT_COUNTS: AtomicUsize = AtomicUsize::new(0);
static FOUND_BYTE_VECTORS: AtomicUsize = AtomicUsize::new(0);
static FOUND_BYPASS: AtomicUsize = AtomicUsize::new(0);
static FOUND_L1_BYTES: AtomicUsize = AtomicUsize::new(0);
static FOUND_L2_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The best instruction set here.
pub fn isa() -> Isa {
    let known = FOUND_ISA.load(Ordering::Relaxed);
    if let Some(index) = known.checked_sub(1) {
        return Isa::ALL[index];
    }
    let isa = detect::isa();
    FOUND_ISA.store(isa as usize + 1, Ordering::Relaxed);
    isa
}

/// Whether one instruction finds a word's lowest bit, and one counts its bits: BMI1 and POPCNT.
/// Every processor with AVX2 has them, but a hypervisor may hide them.
pub fn has_bit_counts() -> bool {
    asked_once(&FOUND_BIT_COUNTS, detect::has_bit_counts)
}

/// Whether 512-bit vectors can be moved, counted and computed with in lanes of any width, bytes
/// too: AVX-512 BW, CD, DQ, VL, VBMI and VBMI2 besides F. Every processor since Intel's Ice Lake
/// and AMD's Zen 4 has all of them, if it has F.
pub fn has_byte_vectors() -> bool {
    isa() == Isa::Avx512 && asked_once(&FOUND_BYTE_VECTORS, detect::has_byte_vectors)
}

/// The caches here.
pub fn caches() -> Caches {
    let l1_bytes = FOUND_L1_BYTES.load(Ordering::Relaxed);
    let l2_bytes = FOUND_L2_BYTES.load(Ordering::Relaxed);
    let are_best_bypassed = asked_once(&FOUND_BYPASS, detect::are_caches_best_bypassed);
    if l1_bytes != 0 && l2_bytes != 0 {
        return Caches { l1_bytes, l2_bytes, are_best_bypassed };
    }
    let [l1_bytes, l2_bytes] = detect::cache_bytes();
    let caches = Caches { l1_bytes, l2_bytes, are_best_bypassed }.or_usual();
    FOUND_L1_BYTES.store(caches.l1_bytes, Ordering::Relaxed);
    FOUND_L2_BYTES.store(caches.l2_bytes, Ordering::Relaxed);
    caches
}

fn asked_once(found: &AtomicUsize, ask: fn() -> bool) -> bool {
    const UNKNOWN: usize = 0;
    const YES: usize = 2;
    let known = found.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known == YES;
    }
    let is_so = ask();
    found.store(YES - usize::from(!is_so), Ordering::Relaxed);
    is_so
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod detect {
    #![allow(unsafe_code)]

    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    use super::Isa;

    const fn bits(positions: &[u32]) -> u32 {
        let (mut all, mut i) = (0, 0);
        while i < positions.len() {
            all |= 1 << positions[i];
            i += 1;
        }
        all
    }

    // Leaf 1, ECX.
    const FMA: u32 = 12;
    const POPCNT: u32 = 23;
    const OSXSAVE: u32 = 27;
    const AVX: u32 = 28;
    // Leaf 7, EBX.
    const BMI1: u32 = 3;
    const AVX2: u32 = 5;
    const AVX512F: u32 = 16;
    const AVX512DQ: u32 = 17;
    const AVX512CD: u32 = 28;
    const AVX512BW: u32 = 30;
    const AVX512VL: u32 = 31;
    // Leaf 7, ECX.
    const AVX512VBMI: u32 = 1;
    const AVX512VBMI2: u32 = 6;
    // Leaf 0x8000_0001, ECX: leaf 0x8000_001D is there.
    const TOPOLOGY_EXTENSIONS: u32 = 22;
    // XCR0: XMM and YMM; with these the mask registers, and both parts of ZMM.
    const YMM_STATE: u64 = bits(&[1, 2]) as u64;
    const ZMM_STATE: u64 = YMM_STATE | bits(&[5, 6, 7]) as u64;

    pub fn isa() -> Isa {
        if __cpuid(0).eax < 7 {
            return Isa::Portable;
        }
        let wanted = bits(&[FMA, OSXSAVE, AVX]);
        let (basic, extended) = (__cpuid(1).ecx, __cpuid_count(7, 0).ebx);
        if basic & wanted != wanted || extended & bits(&[AVX2]) == 0 {
            return Isa::Portable;
        }
        let saved = saved_state();
        if extended & bits(&[AVX512F]) != 0 && saved & ZMM_STATE == ZMM_STATE {
            Isa::Avx512
        } else if saved & YMM_STATE == YMM_STATE {
            Isa::Avx2
        } else {
            Isa::Portable
        }
    }

    pub fn has_bit_counts() -> bool {
        __cpuid(0).eax >= 7
            && __cpuid(1).ecx & bits(&[POPCNT]) != 0
            && __cpuid_count(7, 0).ebx & bits(&[BMI1]) != 0
    }

    /// Call it where there is leaf 7, as there is with AVX-512 F.
    pub fn has_byte_vectors() -> bool {
        let wanted =
            [bits(&[AVX512DQ, AVX512CD, AVX512BW, AVX512VL]), bits(&[AVX512VBMI, AVX512VBMI2])];
        let leaf = __cpuid_count(7, 0);
        [leaf.ebx & wanted[0], leaf.ecx & wanted[1]] == wanted
    }

    /// XCR0: the register state that the operating system saves. Call it where OSXSAVE is set.
    fn saved_state() -> u64 {
        #[target_feature(enable = "xsave")]
        fn read() -> u64 {
            // SAFETY: the caller has seen OSXSAVE, and XCR0 is there then.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: isa() has seen OSXSAVE, which means XSAVE and that it is enabled.
        unsafe { read() }
    }

    /// Whether this is a processor of AMD, or of Hygon, which builds AMD's: by the first letters of
    /// the vendor's name.
    pub fn are_caches_best_bypassed() -> bool {
        let vendor = __cpuid(0).ebx.to_le_bytes();
        matches!(&vendor, b"Auth" | b"Hygo")
    }

    /// What is said of the first and the second level, zero where nothing is.
    pub fn cache_bytes() -> [usize; 2] {
        let mut told = [0; 2];
        let has_amd_leaf = __cpuid(0x8000_0000).eax >= 0x8000_001D
            && __cpuid(0x8000_0001).ecx & bits(&[TOPOLOGY_EXTENSIONS]) != 0;
        let leaf = match has_amd_leaf {
            true => 0x8000_001D,
            false if __cpuid(0).eax >= 4 => 4,
            false => return told,
        };
        // No CPU describes more; a leaf that never ends is one of the lies.
        for index in 0..8 {
            let found = __cpuid_count(leaf, index);
            let (kind, level) = (found.eax & 0x1F, found.eax >> 5 & 7);
            let field = |value: u32, shift: u32, width: u32| {
                (value >> shift & ((1 << width) - 1)) as usize + 1
            };
            let line_bytes = field(found.ebx, 0, 12);
            let partitions = field(found.ebx, 12, 10);
            let ways = field(found.ebx, 22, 10);
            let sets = (found.ecx as usize).saturating_add(1);
            let bytes = (line_bytes * partitions * ways).saturating_mul(sets);
            match (kind, level) {
                (0, _) => break,
                // 1 is a data cache, 3 a unified one.
                (1 | 3, level @ (1 | 2)) => told[level as usize - 1] = bytes,
                _ => {}
            }
        }
        told
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
mod detect {
    use super::Isa;

    pub fn isa() -> Isa {
        Isa::Portable
    }

    pub fn has_bit_counts() -> bool {
        false
    }

    pub fn has_byte_vectors() -> bool {
        false
    }

    pub fn are_caches_best_bypassed() -> bool {
        false
    }

    pub fn cache_bytes() -> [usize; 2] {
        [0; 2]
    }
}
