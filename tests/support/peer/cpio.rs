//! The archive format that Linux unpacks as its first file system: "newc", an entry a header of
//! fourteen numbers in eight hexadecimal digits, a name and the data, each padded to four bytes
//! (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source).

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub fn dir(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[], (0, 0));
    }

    pub fn file(&mut self, name: &str, data: &[u8]) {
        self.entry(name, EXECUTABLE, data, (0, 0));
    }

    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE, &[], (major, minor));
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        let inode = self.entries;
        self.entries += 1;
        let data_bytes = u32::try_from(data.len()).expect("a file below 4 GiB");
        let name_bytes = name.len() as u32 + 1;
        let (uid, gid, links, time, checksum) = (0, 0, 1, 0, 0);
        let (major, minor) = (0, 0);
        let numbers = [
            inode, mode, uid, gid, links, time, data_bytes, major, minor, device.0, device.1,
            name_bytes, checksum,
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
