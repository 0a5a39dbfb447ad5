//! The thread that reads ahead and writes behind for products larger than memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{fmt, io, thread};

use gemmule::large::Background;

type Errand = Box<dyn FnOnce() + Send>;

/// A thread that does one errand after the other, for as long as this is there.
pub struct Reader {
    errands: Mutex<Sender<Errand>>,
    ends: Arc<Ends>,
}

/// What tells that an errand has ended.
#[derive(Default)]
struct Ends {
    lock: Mutex<()>,
    ended: Condvar,
    /// An errand has panicked: nothing more will be done.
    is_broken: AtomicBool,
}

impl Reader {
    pub fn start() -> io::Result<Arc<Self>> {
        let (sender, errands) = mpsc::channel::<Errand>();
        let ends = Arc::new(Ends::default());
        let (told, guard) = (ends.clone(), Guard(ends.clone()));
        thread::Builder::new().name("disk".into()).spawn(move || {
            let _guard = guard;
            for errand in errands {
                errand();
                told.tell();
            }
        })?;
        Ok(Arc::new(Self { errands: Mutex::new(sender), ends }))
    }
}

impl Ends {
    /// Who asks holds the lock from asking to waiting, so that nothing is missed.
    fn tell(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.ended.notify_all();
    }
}

/// Whoever waits for a thread that has panicked is told.
struct Guard(Arc<Ends>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.is_broken.store(thread::panicking(), Ordering::Release);
        self.0.tell();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Background for Reader {
    fn post(&self, errand: Errand) {
        let errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the thread has panicked, `wait` does as well.
        drop(errands.send(errand));
    }

    fn wait(&self, is_done: &dyn Fn() -> bool) {
        let mut lock = self.ends.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_done() {
            assert!(!self.ends.is_broken.load(Ordering::Acquire), "the disk's thread is there");
            lock = self.ends.ended.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
