use std::fs::{self, File};
use std::path::PathBuf;
use std::{env, process};

/// A file that is an empty disk, and goes with this.
pub struct Disk(pub PathBuf);

impl Disk {
    pub fn new(name: &str, bytes: u64) -> Self {
        let path = env::temp_dir().join(format!("gemmule-{name}-{}", process::id()));
        let file = File::create(&path).expect("a file for the disk");
        file.set_len(bytes).expect("room for the disk");
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Without a file, the test has failed before and says why.
        let _ = fs::remove_file(&self.0);
    }
}
