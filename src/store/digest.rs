//! The address of a matrix.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};
use sha2::{Digest as _, Sha256};

use super::layout::Layout;
use crate::ledger::hash::Hash;

/// What stands before the digits.
const ALGORITHM: &str = "sha256:";

/// The address of a matrix: the SHA-256 of the file that NumPy's `save` writes of it, row by row
/// and in little-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatrixId(pub Hash);

impl MatrixId {
    /// No other comes before it.
    pub const FIRST: Self = Self(Hash::ZERO);
}

impl fmt::Display for MatrixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.0)
    }
}

impl FromStr for MatrixId {
    type Err = ();

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        text.strip_prefix(ALGORITHM).and_then(Hash::parse).map(Self).ok_or(())
    }
}

impl Serialize for MatrixId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MatrixId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|()| D::Error::custom("an address is sha256: and 64 digits"))
    }
}

/// Finds the address of a matrix whose elements come row by row.
#[derive(Clone, Debug)]
pub struct AddressHasher(Sha256);

impl AddressHasher {
    pub fn new(layout: &Layout) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(layout.npy_head());
        Self(hasher)
    }

    /// Takes more elements' bytes.
    pub fn update(&mut self, elements: &[u8]) {
        self.0.update(elements);
    }

    /// What [`AddressHasher::from_bytes`] goes on from, after a restart say.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// One that was written by [`AddressHasher::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let state = SerializedState::<Sha256>::try_from(bytes).ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }

    pub fn finish(self) -> MatrixId {
        MatrixId(Hash(self.0.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::gemm::Dtype;

    /// `hashlib.sha256` of what `numpy.save` 2.4 wrote of `numpy.array([[1., 2., 3.], [4., 5.,
    /// 6.]])`.
    #[test]
    fn a_hasher_goes_on_where_it_was() {
        let layout = Layout { dtype: Dtype::F32, rows: 50, columns: 3 };
        let bytes = [7; 600];
        let mut whole = AddressHasher::new(&layout);
        whole.update(&bytes);
        let expected = whole.finish();
        for cut in [0, 1, 63, 64, 65, 599, 600] {
            let mut hasher = AddressHasher::new(&layout);
            hasher.update(&bytes[..cut]);
            let mut hasher = AddressHasher::from_bytes(&hasher.to_bytes()).expect("a state");
            hasher.update(&bytes[cut..]);
            assert_eq!(hasher.finish(), expected, "{cut}");
        }
        assert!(AddressHasher::from_bytes(&[0; 7]).is_none());
    }

    #[test]
    fn the_address_is_the_digest_of_numpys_file() {
        let layout = Layout { dtype: Dtype::F64, rows: 2, columns: 3 };
        let mut hasher = AddressHasher::new(&layout);
        for element in 1..=6 {
            hasher.update(&f64::from(element).to_le_bytes());
        }
        let id = hasher.finish();
        let expected = "sha256:deb421ed8c6470346a3244e15213ae7d19d840735f59c858fb091bbcec7ca665";
        assert_eq!(id.to_string(), expected);
        assert_eq!(expected.parse(), Ok(id));
        for wrong in ["", "sha256:", &expected[7..], &expected.to_uppercase()] {
            assert_eq!(wrong.parse::<MatrixId>(), Err(()), "{wrong}");
        }
    }
}
