//! Volumes: what is opened, what is refused, and what a full one does.

mod support;

// The parts of the host that it is kept by, which are no library.
#[path = "../src/linux/volume.rs"]
mod file;
use std::collections::BTreeMap;
use std::path::PathBuf;

use std::{env, fs, process};

use gemmule::ledger::volume::{DISK_BYTES_MIN, head};
use gemmule::ledger::{Batch, Disk, Table, Volume, VolumeError};

use file::FileDisk;
use support::power::{Left, PowerCut};
use support::random::Random;

const CACHE_BYTES: usize = 1 << 20;
const ID: [u8; 16] = *b"a volume of test";
const DEVICE_BYTES: usize = DISK_BYTES_MIN as usize;

fn open(disk: &PowerCut) -> Result<Volume, VolumeError> {
    Volume::open(Box::new(disk.clone()), ID, CACHE_BYTES)
}

fn row(key: &str, value: impl Into<Vec<u8>>) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Jobs, key, value);
    batch
}

fn keys(volume: &Volume, from: &str, until: Option<&str>, is_backwards: bool) -> String {
    let mut keys = String::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push_str(str::from_utf8(key).unwrap());
        true
    };
    let until = until.map(str::as_bytes);
    if is_backwards {
        volume.range_backwards(Table::Jobs, from.as_bytes(), until, &mut visit).unwrap();
    } else {
        volume.range(Table::Jobs, from.as_bytes(), until, &mut visit).unwrap();
    }
    keys
}

/// Overwrites a part of what is on the disk.
fn altered(disk: &PowerCut, offset: usize, bytes: &[u8]) -> PowerCut {
    let mut contents = disk.contents();
    contents[offset..offset + bytes.len()].copy_from_slice(bytes);
    PowerCut::new(contents, disk.bytes_max())
}

#[test]
fn rows_are_there_when_it_is_opened_again() {
    for disk in [PowerCut::device(DEVICE_BYTES), PowerCut::file(1 << 30)] {
        let volume = open(&disk).unwrap();
        assert!(volume.is_new());
        volume.commit(&row("a", "1")).unwrap();
        volume.commit(&row("a", "2")).unwrap();
        volume.close().unwrap();
        let volume = Volume::open(Box::new(disk.clone()), [0; 16], CACHE_BYTES).unwrap();
        assert!(!volume.is_new());
        assert_eq!(volume.id(), ID, "the name is given once");
        assert_eq!(volume.get(Table::Jobs, b"a").unwrap().unwrap(), b"2");
        assert_eq!(volume.get(Table::Journal, b"a").unwrap(), None, "tables are apart");
    }
}

#[test]
fn a_file_and_a_device_have_the_same_bytes() {
    let disks = [PowerCut::device(DEVICE_BYTES), PowerCut::file(DISK_BYTES_MIN)];
    for disk in &disks {
        let volume = open(disk).unwrap();
        volume.commit(&row("a", "1")).unwrap();
        volume.close().unwrap();
    }
    let [device, file] = disks.map(|disk| disk.contents());
    assert!(file.len() < device.len());
    assert_eq!(device[..file.len()], file);
    assert!(device[file.len()..].iter().all(|&byte| byte == 0));
}

#[test]
fn deletes_go_before_puts_and_the_later_of_two_puts_counts() {
    let volume = open(&PowerCut::device(DEVICE_BYTES)).unwrap();
    volume.commit(&row("a", "1")).unwrap();
    let mut batch = row("a", "2");
    batch.put(Table::Jobs, "a", "3");
    batch.put(Table::Jobs, "b", "1");
    batch.delete(Table::Jobs, "a");
    batch.delete(Table::Jobs, "was never there");
    volume.commit(&batch).unwrap();
    assert_eq!(volume.get(Table::Jobs, b"a").unwrap().unwrap(), b"3");
    let mut batch = Batch::default();
    batch.delete(Table::Jobs, "a");
    volume.commit(&batch).unwrap();
    assert_eq!(keys(&volume, "", None, false), "b");
}

#[test]
fn ranges_go_both_ways_and_stop_when_told() {
    let volume = open(&PowerCut::device(DEVICE_BYTES)).unwrap();
    let mut batch = Batch::default();
    for key in ["d", "a", "c", "b"] {
        batch.put(Table::Jobs, key, key);
    }
    volume.commit(&batch).unwrap();
    for (from, until, forwards, backwards) in [
        ("", None, "abcd", "dcba"),
        ("b", None, "bcd", "dcb"),
        ("b", Some("d"), "bc", "cb"),
        ("aa", Some("b"), "", ""),
        ("c", Some("a"), "", ""),
    ] {
        assert_eq!(keys(&volume, from, until, false), forwards);
        assert_eq!(keys(&volume, from, until, true), backwards);
    }
    let mut seen = 0;
    let mut two = |_: &[u8], _: &[u8]| {
        seen += 1;
        seen < 2
    };
    volume.range(Table::Jobs, b"", None, &mut two).unwrap();
    assert_eq!(seen, 2);
}

/// Rows of commits that are in the store, in one half of the log or in the other are read as one,
/// by whoever goes on and by whoever opens it.
#[test]
fn what_is_in_the_log_and_in_the_store_is_read_as_one() {
    let disk = PowerCut::device(DEVICE_BYTES);
    let mut volume = open(&disk).unwrap();
    let mut random = Random::new(3);
    let mut rows = BTreeMap::new();
    let mut strokes = 0;
    for number in 0..200_u64 {
        let mut batch = Batch::default();
        let gone = random.below(30).to_string();
        rows.remove(&gone);
        batch.delete(Table::Jobs, gone);
        let key = random.below(30).to_string();
        let value = vec![number as u8; 1 + random.below(20_000) as usize];
        batch.put(Table::Jobs, key.as_str(), value.as_slice());
        rows.insert(key, value);
        volume.commit(&batch).unwrap();
        strokes += u32::from(volume.has_stroke());
        match random.below(20) {
            0 => volume.stroke().unwrap(),
            1 => {
                drop(volume);
                volume = open(&disk).unwrap();
            }
            2 => {
                volume.close().unwrap();
                volume = open(&disk).unwrap();
            }
            _ => {}
        }
        let (from, until) = (random.below(30).to_string(), random.below(30).to_string());
        let expected = || rows.range(from.clone()..).take_while(|(key, _)| **key < until);
        let forwards: String = expected().map(|(key, _)| key.as_str()).collect();
        let backwards: Vec<_> = expected().map(|(key, _)| key.as_str()).collect();
        let backwards: String = backwards.into_iter().rev().collect();
        assert_eq!(keys(&volume, &from, Some(&until), false), forwards, "{number}");
        assert_eq!(keys(&volume, &from, Some(&until), true), backwards, "{number}");
        let found = volume.get(Table::Jobs, from.as_bytes()).unwrap();
        assert_eq!(found.as_ref(), rows.get(&from), "{number}");
    }
    assert!(strokes > 20, "{strokes}");
}

/// Of the log's records only the last can have been torn.
#[test]
fn what_is_damaged_in_the_log_is_told_from_what_was_torn() {
    let (disk, _) = with_rows();
    // They take a block each, and the 97th begins the second half once more.
    let half = head::HEAD_BYTES as usize + (128 << 10);
    let torn = open(&altered(&disk, half + 3 * 4096 + 100, b"\xff\xff")).unwrap();
    assert_eq!(keys(&torn, "096", None, false), "096097098");
    for (offset, is_read) in [(2 * 4096 + 100, false), (100, false), (4 * 4096 + 100, true)] {
        let damaged = altered(&disk, half + offset, b"\xff\xff");
        for result in [open(&damaged), Volume::inspect(Box::new(damaged.clone()), CACHE_BYTES)] {
            match result {
                Ok(volume) => assert!(is_read && keys(&volume, "099", None, false) == "099"),
                Err(error) => {
                    let told = "the volume is damaged: commit ";
                    assert!(!is_read && error.to_string().starts_with(told), "{error}");
                }
            }
        }
    }
}

#[test]
fn what_is_something_else_is_refused_and_stays() {
    let mut text = PowerCut::file(1 << 20);
    text = PowerCut::new(b"a letter".to_vec(), text.bytes_max());
    let blank = PowerCut::device(DEVICE_BYTES);
    // An ext4 file system, one of btrfs, an array's member, and one byte at the end.
    let mut disks = vec![text];
    for offset in [1080, 0x10040, DEVICE_BYTES - 65536, DEVICE_BYTES - 1] {
        disks.push(altered(&blank, offset, b"\x53"));
    }
    for disk in disks {
        let before = disk.contents();
        assert_eq!(open(&disk).unwrap_err(), VolumeError::NotAVolume);
        assert_eq!(disk.contents(), before);
        assert_eq!(disk.moments(), 0, "nothing is written");
    }
}

#[test]
fn a_later_format_is_refused_and_stays() {
    let disk = PowerCut::device(DEVICE_BYTES);
    open(&disk).unwrap().close().unwrap();
    let later = altered(&disk, 16, &(head::FORMAT_VERSION + 1).to_le_bytes());
    let error = open(&later).unwrap_err();
    assert_eq!(error, VolumeError::Newer { version: head::FORMAT_VERSION + 1 });
    assert!(error.to_string().contains("open it with the version that wrote it"), "{error}");
    assert_eq!(later.moments(), 0, "nothing is written");
}

#[test]
fn damage_to_the_head_is_told_and_one_slot_is_enough() {
    let disk = PowerCut::device(DEVICE_BYTES);
    let volume = open(&disk).unwrap();
    // The second of these commits flushes what the first has written of how much it grew.
    for key in ["a", "b"] {
        volume.commit(&row(key, vec![1; 600_000])).unwrap();
    }
    let slots = [4096, 8192];
    for slot in slots {
        let volume = open(&altered(&disk, slot, b"\xff\xff")).unwrap();
        assert_eq!(volume.get(Table::Jobs, b"b").unwrap().unwrap().len(), 600_000);
    }
    let both = altered(&altered(&disk, slots[0], b"\xff\xff"), slots[1], b"\xff\xff");
    let mut cut_off = disk.contents();
    cut_off.truncate(1 << 20);
    let cut_off = PowerCut::new(cut_off, DISK_BYTES_MIN);
    for damaged in [altered(&disk, 24, b"\xff"), altered(&disk, 16, &[0; 4]), both, cut_off] {
        let error = open(&damaged).unwrap_err();
        assert!(matches!(error, VolumeError::Damaged(_)), "{error:?}");
        assert_eq!(damaged.moments(), 0, "nothing is written");
    }
}

#[test]
fn a_disk_that_is_too_small_is_refused() {
    let disk = PowerCut::device(DEVICE_BYTES - 1);
    assert_eq!(open(&disk).unwrap_err(), VolumeError::TooSmall { bytes_min: DISK_BYTES_MIN });
    assert_eq!(disk.moments(), 0, "nothing is written");
}

/// Power is cut at every moment of making one: a volume is made by the next that opens it.
#[test]
fn power_may_be_cut_while_it_is_made() {
    for blank in [|| PowerCut::device(DEVICE_BYTES), || PowerCut::file(1 << 30)] {
        let mut moment = 1;
        loop {
            let disk = blank().cut_at(moment);
            let made = open(&disk);
            if !disk.is_off() {
                made.unwrap();
                break;
            }
            for left in Left::each(moment, 4) {
                let volume = open(&disk.found(left)).unwrap();
                assert_eq!(volume.id(), ID);
                volume.commit(&row("a", "1")).unwrap();
                assert_eq!(keys(&volume, "", None, false), "a");
            }
            moment += 1;
        }
        assert!(moment > 10, "making one takes more than {moment} writes and flushes");
    }
}

/// Everything that fits is used, the reserve is told of, and what was committed stays.
#[test]
fn a_volume_that_fills_up_says_so_before_it_is_too_late() {
    let disk = PowerCut::device(4 * DEVICE_BYTES + 12345);
    let mut random = Random::new(1);
    let mut volume = open(&disk).unwrap();
    let mut full_at = None;
    let mut rows = 0_u32;
    let mut bytes = 0;
    let error = loop {
        let value = vec![rows as u8; 1 + random.below(40_000) as usize];
        let mut batch = Batch::default();
        batch.put(Table::Jobs, rows.to_be_bytes(), value.clone());
        if let Err(error) = volume.commit(&batch) {
            break error;
        }
        rows += 1;
        bytes += value.len();
        if volume.is_full() && full_at.is_none() {
            full_at = Some(bytes);
            // It is so for whoever opens it next.
            drop(volume);
            volume = open(&disk).unwrap();
            assert!(volume.is_full());
        }
    };
    assert_eq!(error, VolumeError::Full);
    let full_at = full_at.expect("it was told first");
    assert!(full_at > disk.contents().len() / 2, "{full_at} bytes of values");
    assert!(bytes - full_at > 1 << 20, "the reserve took {} bytes", bytes - full_at);
    // Reading goes on, and what frees room can be written.
    let mut seen = 0_u32;
    let mut visit = |key: &[u8], value: &[u8]| {
        assert_eq!(key, seen.to_be_bytes());
        assert!(value.iter().all(|&byte| byte == seen as u8));
        seen += 1;
        true
    };
    volume.range(Table::Jobs, b"", None, &mut visit).unwrap();
    assert_eq!(seen, rows);
    volume.close().unwrap();

    // On a larger disk it is not full.
    let mut contents = disk.contents();
    contents.resize(8 * DEVICE_BYTES, 0);
    let volume = open(&PowerCut::new(contents, 8 * DISK_BYTES_MIN)).unwrap();
    assert!(!volume.is_full());
    volume.commit(&row("a", vec![1; 40_000])).unwrap();
}

/// A volume with rows in several tables, and the disk it lies on, without its having been closed.
fn with_rows() -> (PowerCut, Vec<u8>) {
    let disk = PowerCut::device(DEVICE_BYTES);
    let volume = open(&disk).unwrap();
    for number in 0..100_u64 {
        let mut batch = row(&format!("{number:03}"), vec![number as u8; 300]);
        batch.put(Table::Journal, number.to_be_bytes(), vec![number as u8; 3000]);
        volume.commit(&batch).unwrap();
    }
    let contents = disk.contents();
    (disk, contents)
}

#[test]
fn a_volume_can_be_looked_at_and_be_left_as_it_is() {
    let (disk, contents) = with_rows();
    let unclosed = PowerCut::new(contents.clone(), DISK_BYTES_MIN);
    let volume = Volume::inspect(Box::new(unclosed.clone()), CACHE_BYTES).unwrap();
    assert_eq!(volume.id(), ID);
    assert_eq!(volume.get(Table::Jobs, b"042").unwrap().unwrap(), vec![42; 300]);
    volume.commit(&row("new", vec![1; 100_000])).unwrap();
    assert_eq!(volume.get(Table::Jobs, b"new").unwrap().unwrap(), vec![1; 100_000]);
    drop(volume);
    assert_eq!(unclosed.moments(), 0, "nothing is written");
    for (disk, error) in [
        (PowerCut::device(DEVICE_BYTES), VolumeError::Empty),
        (PowerCut::file(1 << 30), VolumeError::Empty),
        (altered(&disk, 0, b"x"), VolumeError::NotAVolume),
    ] {
        let found = Volume::inspect(Box::new(disk.clone()), CACHE_BYTES).unwrap_err();
        assert_eq!(found, error);
        assert_eq!(disk.moments(), 0, "nothing is written");
    }
}

/// Volumes of all formats so far are opened by every later version. `GEMMULE_BLESS=1` writes that
/// of the newest format where there is none.
#[test]
fn volumes_of_older_formats_are_opened() {
    for format in 1..=head::FORMAT_VERSION {
        let path = format!("tests/fixtures/volume/format-{format}.zlib");
        if env::var_os("GEMMULE_BLESS").is_some() && !fs::exists(&path).unwrap() {
            let (_, contents) = with_rows();
            fs::write(&path, miniz_oxide::deflate::compress_to_vec_zlib(&contents, 9)).unwrap();
        }
        let written = fs::read(&path).expect("it was written when the format was new");
        let contents = miniz_oxide::inflate::decompress_to_vec_zlib(&written).unwrap();
        let volume = open(&PowerCut::new(contents, DISK_BYTES_MIN)).unwrap();
        assert!(!volume.is_new());
        assert_eq!(volume.get(Table::Jobs, b"099").unwrap().unwrap(), vec![99; 300]);
        volume.commit(&row("new", "1")).unwrap();
        assert_eq!(keys(&volume, "098", None, false), "098099new");
    }
}

/// Every page in use is held against its checksum.
#[test]
fn damage_anywhere_is_told_to_who_looks() {
    let (disk, contents) = with_rows();
    let rows = |volume: &Volume| keys(volume, "", None, false);
    let all = rows(&Volume::inspect(Box::new(disk), CACHE_BYTES).unwrap());
    let mut random = Random::new(2);
    let mut told = 0;
    for _ in 0..200 {
        // Behind the head's first sector; what is on no page in use makes no difference.
        let offset = 512 + random.below((1 << 20) - 512) as usize;
        let mut contents = contents.clone();
        contents[offset] ^= 1 << random.below(8);
        let damaged = Box::new(PowerCut::new(contents, DISK_BYTES_MIN));
        match Volume::inspect(damaged, CACHE_BYTES) {
            Ok(volume) => assert_eq!(rows(&volume), all, "byte {offset}"),
            Err(VolumeError::Damaged(_)) => told += 1,
            Err(error) => panic!("byte {offset}: {error}"),
        }
    }
    assert!(told > 20, "{told} of 200");
}

/// A path that nothing is at, and nothing will be after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("gemmule-{name}-{}", process::id()));
        Self(path)
    }

    fn disk(&self) -> Box<FileDisk> {
        Box::new(FileDisk::open(&self.0).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that fails early has made none.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_on_linux_is_a_disk() {
    let scratch = Scratch::new("file");
    let volume = Volume::open(scratch.disk(), ID, CACHE_BYTES).unwrap();
    volume.commit(&row("a", vec![7; 600_000])).unwrap();
    drop(volume);
    let volume = Volume::open(scratch.disk(), ID, CACHE_BYTES).unwrap();
    assert!(!volume.is_new());
    assert_eq!(volume.get(Table::Jobs, b"a").unwrap().unwrap(), vec![7; 600_000]);
    assert!(!volume.is_full());
    volume.close().unwrap();
    let bytes = fs::read(&scratch.0).unwrap();
    let volume = open(&PowerCut::new(bytes, 1 << 30)).unwrap();
    assert_eq!(volume.get(Table::Jobs, b"a").unwrap().unwrap(), vec![7; 600_000]);
}

#[test]
fn a_file_is_opened_once_at_a_time() {
    let scratch = Scratch::new("twice");
    let volume = Volume::open(scratch.disk(), ID, CACHE_BYTES).unwrap();
    let error = FileDisk::open(&scratch.0).unwrap_err();
    assert_eq!(error.to_string(), "another process has it open");
    volume.close().unwrap();
    FileDisk::open(&scratch.0).unwrap();
    let error = FileDisk::open(&env::temp_dir()).unwrap_err();
    assert_eq!(error.to_string(), "neither a file nor a block device");
}
