//! The frequency of the time stamp counter, where the processor or the hypervisor states it.
//!
//! The kernel otherwise measures it, which costs boot time and leaves the clock off by what the
//! measurement is off. Nominal figures (CPUID leaf 0x16, the brand string) are not used: they
//! differ from the counter's true frequency by up to a percent, minutes a day.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::cell::UnsafeCell;

/// Below and above these a stated frequency is an error.
const KHZ_PLAUSIBLE: core::ops::RangeInclusive<u64> = 100_000..=10_000_000;

const LEAF_TSC: u32 = 0x15;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
/// VMware's frequency leaf, which KVM, QEMU and others share.
const LEAF_HYPERVISOR_FREQUENCY: u32 = 0x4000_0010;
const LEAF_KVM_FEATURES: u32 = 0x4000_0001;

const FEATURE_HYPERVISOR: u32 = 1 << 31;
const KVM_FEATURE_CLOCKSOURCE2: u32 = 1 << 3;
const KVM_SIGNATURE: [&[u8; 4]; 3] = [b"KVMK", b"VMKV", b"M\0\0\0"];

const MSR_KVM_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;
const SYSTEM_TIME_ENABLE: u64 = 1;

pub fn khz() -> Option<u32> {
    hypervisor_khz()
        .or_else(kvm_clock_khz)
        .or_else(crystal_khz)
        .and_then(|khz| if KHZ_PLAUSIBLE.contains(&khz) { u32::try_from(khz).ok() } else { None })
}

fn hypervisor_khz() -> Option<u64> {
    if __cpuid(1).ecx & FEATURE_HYPERVISOR == 0 {
        return None;
    }
    let leaf_max = __cpuid(LEAF_HYPERVISOR).eax;
    // Far above the known leaves means that no hypervisor answers here.
    if !(LEAF_HYPERVISOR_FREQUENCY..LEAF_HYPERVISOR + 0x1_0000).contains(&leaf_max) {
        return None;
    }
    Some(u64::from(__cpuid(LEAF_HYPERVISOR_FREQUENCY).eax)).filter(|khz| *khz != 0)
}

/// The clock page that KVM fills in, as far as it is needed here.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct KvmClock {
    version: u32,
    reserved: u32,
    tsc_timestamp: u64,
    system_time_ns: u64,
    tsc_to_ns_multiplier: u32,
    tsc_shift: i8,
    flags: u8,
    padding: [u8; 2],
}

struct KvmClockPage(UnsafeCell<KvmClock>);

// SAFETY: the stub runs on one processor; the hypervisor is the only other one to write here.
unsafe impl Sync for KvmClockPage {}

static KVM_CLOCK: KvmClockPage = KvmClockPage(UnsafeCell::new(KvmClock {
    version: 0,
    reserved: 0,
    tsc_timestamp: 0,
    system_time_ns: 0,
    tsc_to_ns_multiplier: 0,
    tsc_shift: 0,
    flags: 0,
    padding: [0; 2],
}));

/// KVM tells how its guests turn counter ticks into nanoseconds:
/// `ns = ticks * 2^shift * multiplier / 2^32`. The frequency follows.
fn kvm_clock_khz() -> Option<u64> {
    if __cpuid(1).ecx & FEATURE_HYPERVISOR == 0 {
        return None;
    }
    let leaf = __cpuid(LEAF_HYPERVISOR);
    let signature = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    if signature != KVM_SIGNATURE.map(|part| *part)
        || __cpuid(LEAF_KVM_FEATURES).eax & KVM_FEATURE_CLOCKSOURCE2 == 0
    {
        return None;
    }
    let page = KVM_CLOCK.0.get();
    write_msr(MSR_KVM_SYSTEM_TIME_NEW, page as u64 | SYSTEM_TIME_ENABLE);
    // SAFETY: the page is a static of ours. KVM writes it during the write of the register or on
    // this processor's next entry, never while we run.
    let clock = unsafe { page.read_volatile() };
    write_msr(MSR_KVM_SYSTEM_TIME_NEW, 0);
    if clock.tsc_to_ns_multiplier == 0 {
        return None;
    }
    let khz = (1_000_000_u64 << 32) / u64::from(clock.tsc_to_ns_multiplier);
    match clock.tsc_shift {
        shift @ -31..0 => Some(khz << -shift),
        shift @ 0..32 => Some(khz >> shift),
        _ => None,
    }
}

/// The counter as a ratio of the crystal, where the processor states all three.
fn crystal_khz() -> Option<u64> {
    if __cpuid(0).eax < LEAF_TSC {
        return None;
    }
    let leaf = __cpuid_count(LEAF_TSC, 0);
    if leaf.eax == 0 || leaf.ebx == 0 || leaf.ecx == 0 {
        return None;
    }
    Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax) / 1000)
}

fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the only caller names KVM's clock register, after KVM said that it has one, and
    // gives KVM a page that lives for good. Not `nomem`: KVM writes that page.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack));
    }
}
