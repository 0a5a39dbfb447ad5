//! Content codings (RFC 9110, section 8.4): `gzip` and `deflate`, of requests and of replies.

mod gzip;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use miniz_oxide::DataFormat;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output,
};

use crate::formats::accept;
use crate::formats::inflate::{INFLATER_BYTES, Inflater, Wrapping};
use crate::problem::{Problem, ProblemKind};

use gzip::Gunzip;

/// The codings that are taken, as `Accept-Encoding` lists them.
pub const ACCEPTED: &str = "gzip, deflate";

/// Bytes of memory that a [`Decoder`] takes.
pub const DECODER_BYTES: usize = INFLATER_BYTES + 4096;
/// Bytes of memory that a [`Compressor`] takes, at most.
pub const COMPRESSOR_BYTES: usize = 448 * 1024;

/// How hard replies are compressed, of 10. Text of numbers has few repetitions, so looking longer
/// for them finds little.
const LEVEL: u8 = 1;
/// The largest window of deflate, as a power of two.
const WINDOW_BITS: u8 = 15;

/// A content coding, other than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The coding of a request, by the values of `Content-Encoding`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// A problem where it is unknown, or there are several.
    pub fn of_request<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, Problem> {
        let items = values.flat_map(|value| value.split(|byte| *byte == b','));
        let mut coding = None;
        for name in items.map(<[u8]>::trim_ascii) {
            let known = match () {
                () if name.is_empty() || name.eq_ignore_ascii_case(b"identity") => continue,
                // RFC 9110, section 8.4.1.3: both names are the same coding.
                () if name.eq_ignore_ascii_case(b"gzip") => Some(Self::Gzip),
                () if name.eq_ignore_ascii_case(b"x-gzip") => Some(Self::Gzip),
                () if name.eq_ignore_ascii_case(b"deflate") => Some(Self::Deflate),
                () => None,
            };
            if known.is_none() || coding.is_some() {
                let name = String::from_utf8_lossy(name);
                let detail = match known {
                    None => format!("{name:?} is not one of {ACCEPTED}"),
                    Some(_) => format!("{name} comes on top of another coding"),
                };
                return Err(Problem::new(ProblemKind::UnsupportedContentCoding, detail)
                    .at("Content-Encoding")
                    .with_response_field("Accept-Encoding", ACCEPTED));
            }
            coding = known;
        }
        Ok(coding)
    }
}

/// The coding that a client wants most, by the values of `Accept-Encoding` (RFC 9110, section
/// 12.5.3); `None` where it wants none, or says nothing.
pub fn negotiate<'a>(accept_encoding: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Coding> {
    let weight = |names: &[&[u8]]| {
        let items = || accept::items(accept_encoding.clone());
        let named = |item: &accept::Weighted<'_>| {
            names.iter().any(|name| item.name.eq_ignore_ascii_case(name))
        };
        let found = items().find(named).or_else(|| items().find(|item| item.name == b"*"));
        found.map(|item| item.weight)
    };
    let gzip = weight(&[b"gzip", b"x-gzip"]).unwrap_or(0);
    let deflate = weight(&[b"deflate"]).unwrap_or(0);
    let best = if gzip >= deflate { (gzip, Coding::Gzip) } else { (deflate, Coding::Deflate) };
    // Where it is not named, no coding is acceptable, but no better than one that is.
    let none = accept::items(accept_encoding.clone())
        .find(|item| item.name.eq_ignore_ascii_case(b"identity"))
        .map_or(0, |item| item.weight);
    (best.0 > 0 && best.0 >= none).then_some(best.1)
}

/// Decodes the content of a request as it comes.
#[derive(Debug)]
pub struct Decoder(Stream);

#[derive(Debug)]
enum Stream {
    Gzip(Gunzip),
    /// The first byte tells whether zlib's header is there: some clients leave it out.
    Undecided,
    Deflate(Inflater),
}

impl Decoder {
    pub fn new(coding: Coding) -> Self {
        Self(match coding {
            Coding::Gzip => Stream::Gzip(Gunzip::new()),
            Coding::Deflate => Stream::Undecided,
        })
    }

    /// Decodes a stretch: how many bytes of the content it took, and what came of them, at most 32
    /// KiB. There may be more to come of the same bytes, so it is to be called again, without
    /// content if there is no more, until it takes nothing and gives nothing.
    ///
    /// # Errors
    ///
    /// A problem where the content is not of this coding, a checksum is wrong, or there is content
    /// behind the end.
    pub fn push(&mut self, content: &[u8]) -> Result<(usize, &[u8]), Problem> {
        if let (Stream::Undecided, [first, ..]) = (&self.0, content) {
            // RFC 1950, section 2.2: method 8, and a window of up to 2^15. In deflate's own blocks
            // the same bits would be a stored block with padding that is not zero.
            let is_zlib = first & 0x0f == 8 && first >> 4 <= 7;
            let wrapping = if is_zlib { Wrapping::Zlib } else { Wrapping::None };
            self.0 = Stream::Deflate(Inflater::new(wrapping));
        }
        match &mut self.0 {
            Stream::Undecided => Ok((0, &[])),
            Stream::Gzip(stream) => stream.push(content),
            Stream::Deflate(stream) if stream.is_done() && !content.is_empty() => {
                Err(malformed("there is content behind the end of the stream"))
            }
            Stream::Deflate(stream) => stream
                .step(content)
                .map_err(|_| malformed("the content is not deflate's, or its checksum is wrong")),
        }
    }

    /// # Errors
    ///
    /// A problem where the content has ended too early.
    pub fn finish(&self) -> Result<(), Problem> {
        let is_whole = match &self.0 {
            Stream::Gzip(stream) => stream.is_whole(),
            Stream::Undecided => false,
            Stream::Deflate(stream) => stream.is_done(),
        };
        if is_whole { Ok(()) } else { Err(malformed("the content ends before its coding does")) }
    }
}

/// Compresses the text of a reply.
pub struct Compressor {
    coding: Coding,
    state: Box<CompressorOxide>,
    checksum: crc32fast::Hasher,
    text_bytes: u64,
}

impl Compressor {
    /// Sets out to compress into `out`.
    pub fn new(coding: Coding, out: &mut Vec<u8>) -> Self {
        let format = match coding {
            Coding::Gzip => DataFormat::Raw,
            Coding::Deflate => DataFormat::Zlib,
        };
        if coding == Coding::Gzip {
            out.extend_from_slice(&gzip::HEADER);
        }
        let state =
            CompressorOxide::with_params(format, LEVEL, CompressionStrategy::Default, WINDOW_BITS);
        Self { coding, state: Box::new(state), checksum: crc32fast::Hasher::new(), text_bytes: 0 }
    }

    /// Takes text; what is compressed so far goes to `out`.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if self.coding == Coding::Gzip {
            self.checksum.update(text);
            self.text_bytes += text.len() as u64;
        }
        self.compress(text, TDEFLFlush::None, out);
    }

    /// The text has ended; all that is left goes to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.compress(&[], TDEFLFlush::Finish, out);
        if self.coding == Coding::Gzip {
            out.extend_from_slice(&gzip::trailer(self.checksum.finalize(), self.text_bytes));
        }
    }

    fn compress(&mut self, text: &[u8], flush: TDEFLFlush, out: &mut Vec<u8>) {
        let (status, used) = compress_to_output(&mut self.state, text, flush, |compressed| {
            out.extend_from_slice(compressed);
            true
        });
        let ended = if flush == TDEFLFlush::Finish { TDEFLStatus::Done } else { TDEFLStatus::Okay };
        assert!(status == ended && used == text.len(), "what takes all output takes all input");
    }

    /// The most bytes that a text of that length becomes: where it doesn't compress, each block of
    /// it is stored with a few bytes before it.
    pub const fn bytes_max(text_bytes: usize) -> usize {
        text_bytes.saturating_add(text_bytes / 1024).saturating_add(256)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("coding", &self.coding).finish_non_exhaustive()
    }
}

fn malformed(detail: &str) -> Problem {
    Problem::new(ProblemKind::MalformedBody, detail).at("Content-Encoding")
}
