//! Matrices in every format that clients hold them in, read as the bytes come and written from the
//! matrix itself.
//!
//! Nothing here does I/O or keeps a body: a reader is given what has come, puts the elements into
//! their places, and says how much it has used. The modules stand in the order in which a request
//! meets them.

pub(crate) mod accept;
pub mod coding;
mod inflate;

pub mod settings;

pub mod array;
pub mod reader;

pub(crate) mod npy;
mod npz;
mod raw;
mod safetensors;

mod buffers;
mod convert;
pub mod operands;
pub mod place;
pub mod single;

pub mod write;

mod zip;

use alloc::format;
use alloc::string::String;

pub(crate) use buffers::in_lines;

pub use array::{ArrayHeader, ByteOrder, Scalar, Which};
pub use operands::{Demand, Operands};
pub use place::{Place, Source};
pub use reader::{Reader, STRIDE_BYTES};
pub use settings::{Number, Settings};
pub use single::Matrix;
pub(crate) use write::npy_head;

use crate::problem::{Problem, ProblemKind};

/// A format that matrices come in, and results go out in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    /// NumPy's arrays, one after the other.
    Npy,
    /// NumPy's archive of arrays.
    Npz,
    Safetensors,
    /// Elements alone, little-endian, row by row.
    Raw,
}

/// Names of the formats. None but JSON's and the last is registered; the first of each format is
/// what replies are called, the others are in use as well.
const MEDIA_TYPES: &[(&str, Format)] = &[
    ("application/json", Format::Json),
    ("application/x-npy", Format::Npy),
    ("application/x-numpy", Format::Npy),
    ("application/vnd.numpy.npy", Format::Npy),
    ("application/x-npz", Format::Npz),
    ("application/zip", Format::Npz),
    ("application/vnd.numpy.npz", Format::Npz),
    ("application/vnd.safetensors", Format::Safetensors),
    ("application/x-safetensors", Format::Safetensors),
    ("application/safetensors", Format::Safetensors),
    ("application/octet-stream", Format::Raw),
];

impl Format {
    /// Every format, in the order of preference where a client has none.
    pub const ALL: [Self; 5] = [Self::Json, Self::Npy, Self::Npz, Self::Safetensors, Self::Raw];

    /// The format of a media type, in lower case and without parameters.
    pub fn from_media_type(name: &str) -> Option<Self> {
        MEDIA_TYPES.iter().find(|(media_type, _)| *media_type == name).map(|(_, format)| *format)
    }

    /// The media type of replies.
    pub fn media_type(self) -> &'static str {
        let named = MEDIA_TYPES.iter().find(|(_, format)| *format == self);
        named.map(|(media_type, _)| *media_type).expect("every format has a media type")
    }

    /// What requests may come in, as `Accept-Post` lists it.
    pub fn accept_post() -> String {
        Self::ALL.map(Self::media_type).join(", ")
    }

    /// The format of the reply, by the values of `Accept` (RFC 9110, section 12.5.1): the one with
    /// the highest weight, and of several the default or else the first of [`Format::ALL`]. The
    /// default where there is no such field.
    ///
    /// # Errors
    ///
    /// A problem where the client takes none of them.
    pub fn negotiate<'a>(
        accept: impl Iterator<Item = &'a [u8]> + Clone,
        default: Self,
    ) -> Result<Self, Problem> {
        if accept.clone().next().is_none() {
            return Ok(default);
        }
        let weight = |format: Self| {
            // The other names count only where they are spelt out: a client that refuses the first
            // one and takes all others doesn't mean the same thing by another name.
            let names = MEDIA_TYPES.iter().filter(|(_, named)| *named == format);
            let spelt_out = names.map(|(name, _)| accept::name_weight(accept.clone(), name)).max();
            accept::media_weight(accept.clone(), format.media_type()).max(spelt_out.unwrap_or(0))
        };
        // Of equal maxima the last is taken: the default, which stands behind the others.
        let candidates = Self::ALL.into_iter().rev().chain([default]);
        let best = candidates.max_by_key(|format| weight(*format)).unwrap_or(default);
        if weight(best) > 0 {
            return Ok(best);
        }
        let offered = Self::accept_post();
        Err(Problem::new(ProblemKind::NotAcceptable, format!("replies come as {offered}"))
            .at("Accept"))
    }
}
