//! The BLAS libraries that `tools/gemm-peers` fetches, and the settings at which each is best.

use std::ffi::{CStr, c_char, c_int};
use std::path::PathBuf;

use libloading::Library;
use libloading::os::unix;

/// Where a BLAS is, and how it differs from the others.
pub struct Blas {
    pub name: &'static str,
    /// Under target/gemm-peers.
    file: &'static str,
    /// Before `cblas_dgemm` and the like.
    pub prefix: &'static str,
    /// Whether many small products go in one call. BLIS has no such call; OpenBLAS loses two thirds
    /// of its speed by it on two threads, and gains nothing on one.
    pub batch: bool,
    pub describe: fn(&Library) -> String,
}

pub const OPENBLAS: Blas = Blas {
    name: "OpenBLAS",
    file: "openblas/libscipy_openblas.so",
    prefix: "scipy_",
    batch: false,
    describe: describe_openblas,
};

pub const MKL: Blas = Blas {
    name: "MKL",
    file: "mkl/libmkl_rt.so.3",
    prefix: "",
    batch: true,
    describe: describe_mkl,
};

pub const BLIS: Blas = Blas {
    name: "BLIS",
    file: "blis/libblis.so.4",
    prefix: "",
    batch: false,
    describe: describe_blis,
};

impl Blas {
    /// Each library resolves its own symbols to itself: they all define `dgemm_`, MKL for the whole
    /// process, and BLIS would call MKL.
    pub fn open(&self) -> Result<Library, libloading::Error> {
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_DEEPBIND;
        let path = peers_dir().join(self.file);
        // SAFETY: the initialisers of these libraries set up their own state only.
        unsafe { unix::Library::open(Some(path), flags) }.map(Library::from)
    }
}

fn peers_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/gemm-peers"))
}

/// Whether a variable that the user has set is taken away: it could hold a library back.
pub fn foreign_settings(variable: &str) -> bool {
    const PREFIXES: [&str; 9] =
        ["OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "MATMUL_", "RAYON_"];
    PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// What a process that measures sets instead.
pub fn settings(threads: usize) -> Vec<(&'static str, String)> {
    let mut settings: Vec<(&str, String)> = [
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "MATMUL_NUM_THREADS",
        "RAYON_NUM_THREADS",
    ]
    .into_iter()
    .map(|name| (name, threads.to_string()))
    .collect();
    let layer = if threads == 1 { "SEQUENTIAL" } else { "INTEL" };
    settings.push(("MKL_THREADING_LAYER", layer.to_string()));
    settings.push(("MKL_INTERFACE_LAYER", "LP64".to_string()));
    settings.push(("MKL_DYNAMIC", "FALSE".to_string()));
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
        // skx: BLIS 0.9 knows no AVX-512 on AMD, and falls to scalar code on Zen 5. Its AVX-512
        // kernels are twice as fast there as its Zen 3 ones.
        settings.push(("BLIS_ARCH_TYPE", "0".to_string()));
    }
    // For the libraries that a library loads in its turn.
    let dirs = [peers_dir().join("mkl"), peers_dir().join("blis")];
    settings.push(("LD_LIBRARY_PATH", dirs.map(|dir| dir.display().to_string()).join(":")));
    settings
}

/// Calls a function without arguments that returns a string of the library's own.
fn told(library: &Library, symbol: &str) -> String {
    type Tell = unsafe extern "C" fn() -> *const c_char;
    // SAFETY: the callers name functions of this type.
    let Ok(tell) = (unsafe { library.get::<Tell>(symbol.as_bytes()) }) else {
        return "?".to_string();
    };
    // SAFETY: it takes nothing.
    let text = unsafe { tell() };
    // SAFETY: the string ends in a zero and is the library's for good.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn describe_openblas(library: &Library) -> String {
    told(library, "scipy_openblas_get_config")
}

fn describe_mkl(library: &Library) -> String {
    type Version = unsafe extern "C" fn(*mut c_char, c_int);
    // SAFETY: MKL_Get_Version_String(buffer, length) since version 10.
    let Ok(version) = (unsafe { library.get::<Version>(b"mkl_get_version_string") }) else {
        return "MKL".to_string();
    };
    let mut text = [0_u8; 200];
    // SAFETY: writes no more than the length it is told, less than which is the buffer's.
    unsafe { version(text.as_mut_ptr().cast(), text.len() as c_int - 1) };
    String::from_utf8_lossy(&text).trim_matches(['\0', ' ']).to_string()
}

fn describe_blis(library: &Library) -> String {
    type Init = unsafe extern "C" fn();
    type Query = unsafe extern "C" fn() -> c_int;
    type Text = unsafe extern "C" fn(c_int) -> *const c_char;
    let version = told(library, "bli_info_get_version_str");
    // Before it is initialised, BLIS takes any choice of kernels for an invalid one, and aborts.
    // SAFETY: `void bli_init(void)`.
    if let Ok(init) = unsafe { library.get::<Init>(b"bli_init") } {
        // SAFETY: it takes nothing, and may be called more than once.
        unsafe { init() };
    }
    // SAFETY: `arch_t bli_arch_query_id(void)`, an enumeration.
    let query = unsafe { library.get::<Query>(b"bli_arch_query_id") };
    // SAFETY: `char* bli_arch_string(arch_t)`.
    let text = unsafe { library.get::<Text>(b"bli_arch_string") };
    let (Ok(query), Ok(text)) = (query, text) else {
        return format!("BLIS {version}");
    };
    // SAFETY: it takes nothing.
    let arch = unsafe { query() };
    // SAFETY: `arch` is what the library says; the string is static.
    let arch = unsafe { CStr::from_ptr(text(arch)) };
    format!("BLIS {version}, kernels {}", arch.to_string_lossy())
}
