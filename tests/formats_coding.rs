//! Content codings: what others have coded, in pieces of every size, cut short and damaged; and
//! what is compressed here.

mod support;

use gemmule::formats::Format;
use gemmule::formats::coding::{Coding, Compressor, Decoder, negotiate};
use gemmule::problem::{Problem, ProblemKind};

use support::random::Random;

const FILES: &[(&str, Coding)] = &[
    ("coding.gz", Coding::Gzip),
    ("coding-optional.gz", Coding::Gzip),
    ("coding-members.gz", Coding::Gzip),
    ("coding-stored.gz", Coding::Gzip),
    ("coding.zlib", Coding::Deflate),
    ("coding.deflate", Coding::Deflate),
];

fn file(name: &str) -> Vec<u8> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    std::fs::read(directory.join(name)).expect(name)
}

/// Decodes content in pieces of that size.
fn decode(coding: Coding, content: &[u8], piece_bytes: usize) -> Result<Vec<u8>, Problem> {
    let mut decoder = Decoder::new(coding);
    let mut text = Vec::new();
    for mut piece in content.chunks(piece_bytes) {
        loop {
            let (used, output) = decoder.push(piece)?;
            assert!(output.len() <= 32 * 1024, "the output of one call is bounded");
            text.extend_from_slice(output);
            let is_idle = used == 0 && output.is_empty();
            piece = &piece[used..];
            if is_idle {
                break;
            }
        }
        assert!(piece.is_empty(), "all of it is taken");
    }
    decoder.finish().map(|()| text)
}

#[test]
fn what_others_have_coded_is_decoded_in_pieces_of_any_size() {
    let text = file("coding.txt");
    for (name, coding) in FILES {
        let content = file(name);
        for piece_bytes in [1, 2, 3, 7, 64, 1000, content.len()] {
            let found = decode(*coding, &content, piece_bytes).expect(name);
            assert!(found == text, "{name} in pieces of {piece_bytes}");
        }
    }
}

#[test]
fn content_cut_short_or_with_more_behind_it_is_refused() {
    for (name, coding) in FILES {
        let content = file(name);
        let mut random = Random::new(content.len() as u64);
        let cuts = (0..40).chain((0..60).map(|_| random.below(content.len() as u64) as usize));
        for cut in cuts.chain(content.len() - 10..content.len()) {
            match decode(*coding, &content[..cut], 4096) {
                Err(problem) => assert_eq!(problem.kind, ProblemKind::MalformedBody),
                Ok(text) => {
                    let is_member = content[cut..].starts_with(&[0x1f, 0x8b]);
                    assert!(is_member && text.len() < file("coding.txt").len(), "{name} at {cut}");
                }
            }
        }
        for more in [&b"\0"[..], b"more"] {
            let longer = [&content[..], more].concat();
            for piece_bytes in [1, longer.len()] {
                let problem = decode(*coding, &longer, piece_bytes).expect_err(name);
                assert_eq!(problem.kind, ProblemKind::MalformedBody);
                assert_eq!(problem.field.as_deref(), Some("Content-Encoding"));
            }
        }
    }
}

#[test]
fn damaged_content_is_refused_by_its_checksum_at_the_latest() {
    let text = file("coding.txt");
    for (name, coding) in FILES {
        let content = file(name);
        let mut random = Random::new(7 + content.len() as u64);
        for _ in 0..200 {
            let mut damaged = content.clone();
            let place = random.below(content.len() as u64) as usize;
            damaged[place] ^= 1 << random.below(8);
            if let Ok(found) = decode(*coding, &damaged, 4096) {
                // Deflate alone has no checksum; the others have parts of no meaning.
                assert!(found == text || *name == "coding.deflate", "{name} at {place}");
            }
        }
    }
}

#[test]
fn what_is_compressed_is_decoded_again_and_within_its_bound() {
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..300_000).map(|_| random.next() as u8).collect();
    for text in [&b""[..], b"[[1.0,2.5]]", &file("coding.txt"), &noise] {
        for coding in [Coding::Gzip, Coding::Deflate] {
            for piece_bytes in [1000, 100_000] {
                let mut content = Vec::new();
                let mut compressor = Compressor::new(coding, &mut content);
                for piece in text.chunks(piece_bytes) {
                    compressor.push(piece, &mut content);
                }
                compressor.finish(&mut content);
                assert!(content.len() <= Compressor::bytes_max(text.len()), "{}", content.len());
                assert!(decode(coding, &content, 999).expect("what was coded") == text);
            }
        }
    }
    let mut content = Vec::new();
    let mut compressor = Compressor::new(Coding::Gzip, &mut content);
    compressor.push(&file("coding.txt"), &mut content);
    compressor.finish(&mut content);
    assert!(content.len() * 2 < file("coding.txt").len(), "numbers as text are compressed");
}

fn values<'a>(values: &'a [&str]) -> impl Iterator<Item = &'a [u8]> + Clone {
    values.iter().map(|value| value.as_bytes())
}

#[test]
fn the_coding_of_a_request_is_known_or_refused() {
    #[rustfmt::skip]
    let cases: &[(&[&str], Option<Coding>)] = &[
        (&[], None), (&[""], None), (&["identity"], None), (&["gzip"], Some(Coding::Gzip)),
        (&["X-GZip"], Some(Coding::Gzip)), (&["deflate"], Some(Coding::Deflate)),
        (&["identity, gzip"], Some(Coding::Gzip)),
    ];
    for (names, coding) in cases {
        assert_eq!(Coding::of_request(values(names)).expect("known"), *coding, "{names:?}");
    }
    for names in
        [&["br"][..], &["zstd, gzip"], &["gzip, gzip"], &["gzip", "deflate"], &["gzip;q=1"]]
    {
        let problem = Coding::of_request(values(names)).expect_err("refused");
        assert_eq!(problem.kind, ProblemKind::UnsupportedContentCoding, "{names:?}");
        assert_eq!(problem.response_fields, [("Accept-Encoding", "gzip, deflate".to_owned())]);
    }
}

#[test]
fn the_coding_of_a_reply_is_the_one_that_is_wanted_most() {
    #[rustfmt::skip]
    let cases: &[(&[&str], Option<Coding>)] = &[
        (&[], None), (&[""], None), (&["gzip"], Some(Coding::Gzip)), (&["deflate"], Some(Coding::Deflate)),
        (&["deflate, gzip"], Some(Coding::Gzip)), (&["gzip;q=0.5, deflate;q=0.501"], Some(Coding::Deflate)),
        (&["gzip;q=0"], None), (&["gzip;q=0, *"], Some(Coding::Deflate)), (&["*"], Some(Coding::Gzip)),
        (&["*;q=0"], None), (&["br, zstd"], None), (&["br", "X-Gzip;q=0.1"], Some(Coding::Gzip)),
        (&["identity, gzip;q=0.5"], None), (&["identity;q=0.5, gzip"], Some(Coding::Gzip)),
        (&["gzip;q=2"], None), (&["gzip;q=0.1234"], None), (&["gzip;q=1.001"], None), (&["gzip;q="], None),
        (&["gzip;q=1."], Some(Coding::Gzip)), (&["gzip ; Q=1.000"], Some(Coding::Gzip)),
        (&[",,gzip,"], Some(Coding::Gzip)),
    ];
    for (names, coding) in cases {
        assert_eq!(negotiate(values(names)), *coding, "{names:?}");
    }
}

#[test]
fn the_format_of_a_reply_is_the_one_that_is_wanted_most() {
    #[rustfmt::skip]
    let cases: &[(&[&str], Option<Format>)] = &[
        (&[], Some(Format::Npz)), (&["*/*"], Some(Format::Npz)), (&["application/*"], Some(Format::Npz)),
        (&["application/json"], Some(Format::Json)), (&["APPLICATION/X-NPY"], Some(Format::Npy)),
        (&["application/x-numpy"], Some(Format::Npy)), (&["application/octet-stream"], Some(Format::Raw)),
        (&["application/zip"], Some(Format::Npz)), (&["application/x-safetensors"], Some(Format::Safetensors)),
        (&["text/html, application/xhtml+xml, */*;q=0.8"], Some(Format::Npz)),
        (&["application/json;q=0.5, application/x-npy"], Some(Format::Npy)),
        (&["application/json;q=0.5", "application/x-npy;q=0.4"], Some(Format::Json)),
        (&["application/*;q=0.1, application/json;q=0.2"], Some(Format::Json)),
        (&["*/*, application/x-npz;q=0"], Some(Format::Json)),
        (&["application/x-npz;q=0, */*;q=0.1, application/octet-stream;q=0.2"], Some(Format::Raw)),
        (&["application/json;charset=utf-8"], Some(Format::Json)),
        (&["application/json;charset=utf-8;q=0.1, application/octet-stream;q=0.2"], Some(Format::Raw)),
        (&["text/*"], None), (&["application/json;q=0"], None), (&["*/*;q=0"], None), (&[""], None),
        (&["nonsense"], None), (&["application/x-npy;q=many"], None),
    ];
    for (accept, expected) in cases {
        match (Format::negotiate(values(accept), Format::Npz), expected) {
            (Ok(format), Some(expected)) => assert_eq!(format, *expected, "{accept:?}"),
            (Err(problem), None) => {
                assert_eq!(problem.kind, ProblemKind::NotAcceptable, "{accept:?}");
                assert!(problem.detail.contains("application/x-npy"), "{}", problem.detail);
            }
            (found, _) => panic!("{accept:?}: {found:?}"),
        }
    }
    for format in Format::ALL {
        assert_eq!(Format::from_media_type(format.media_type()), Some(format));
    }
}
