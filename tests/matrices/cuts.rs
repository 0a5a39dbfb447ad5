//! Power cuts under an upload: it goes on where the last reply said, or behind that, and becomes
//! the matrix that was sent.

use std::sync::{Arc, Mutex};

use gemmule::gemm::Dtype;

use crate::bench::{Bench, DISK_BYTES, Raw, START};
use crate::support::power::{Left, PowerCut};

const CHUNK: usize = 600_000;

/// What the client knows.
#[derive(Clone, Debug, Default)]
struct Told {
    upload: String,
    offset: usize,
    is_stored: bool,
}

fn offset(bench: &mut Bench, upload: &str) -> Option<usize> {
    let status = bench.get(upload);
    (status.status == 204)
        .then(|| status.field("Gemmule-Upload-Offset").expect("an offset").parse().expect("it is"))
}

/// Sends what is missing; panics where the power goes, which a cut disk has it do.
fn go_on(bench: &mut Bench, matrix: &Raw, told: &mut Told) -> Result<(), String> {
    let file = matrix.npy();
    if told.upload.is_empty() {
        let reply = bench.ask(0, "POST", "/v1/matrices/uploads", &[], None);
        if reply.status != 202 {
            return Err(reply.text().to_owned());
        }
        told.upload = reply.field("Location").expect("where it is").to_owned();
    }
    while told.offset < file.len() {
        let chunk = &file[told.offset..file.len().min(told.offset + CHUNK)];
        let range = format!("{}-{}", told.offset, told.offset + chunk.len() - 1);
        let reply = bench.ask(0, "PATCH", &told.upload, &[("Content-Range", &range)], Some(chunk));
        if reply.status != 202 {
            return Err(reply.text().to_owned());
        }
        told.offset += chunk.len();
    }
    let done = format!("{}?digest={}", told.upload, matrix.id());
    let reply = bench.ask(0, "PUT", &done, &[], None);
    if reply.status != 201 {
        return Err(reply.text().to_owned());
    }
    told.is_stored = true;
    Ok(())
}

/// After a cut: nothing that was told is lost, and the upload comes to its end.
fn check(disk: &PowerCut, matrix: &Raw, told: &Told) {
    let mut bench = Bench::boot(disk, START.unix_ns + 1_000_000_000).expect("it boots");
    let mut told = told.clone();
    if !told.upload.is_empty() {
        match offset(&mut bench, &told.upload) {
            Some(found) => {
                assert!(found >= told.offset, "{found} of {}", told.offset);
                assert!(found - told.offset <= CHUNK && !told.is_stored);
                told.offset = found;
            }
            // Its end was reached, whether or not the client was told.
            None => {
                assert_eq!(told.offset, matrix.npy().len());
                told.is_stored = true;
            }
        }
    }
    if !told.is_stored {
        go_on(&mut bench, matrix, &mut told).expect("there is power");
    }
    let back = bench.get(&matrix.path());
    assert!(back.status == 200 && back.body == matrix.npy(), "it is what was sent");
    bench.ask(0, "DELETE", &matrix.path(), &[], None);
    assert_eq!(bench.server.stored_bytes(), 0, "nothing is left behind");
}

#[test]
fn an_upload_goes_on_where_the_last_reply_said_whenever_the_power_is_cut() {
    // Several tiles, and chunks that end within rows and within elements.
    let matrix = Raw::random(Dtype::F32, 1100, 1050, 3);
    let disk = PowerCut::device(DISK_BYTES);
    let told = Arc::new(Mutex::new(Told::default()));
    let mut bench = Bench::boot(&disk, START.unix_ns).expect("an empty disk");
    let begun = disk.moments();
    go_on(&mut bench, &matrix, &mut told.lock().expect("no panic")).expect("there is power");
    let ended = disk.moments();
    drop(bench);
    assert!(ended - begun > 20, "there are moments to cut at");
    let step = ((ended - begun) / 24).max(1);
    for (number, moment) in (begun + 1..=ended).step_by(step as usize).enumerate() {
        let left = match number % 4 {
            0 => Left::Nothing,
            1 => Left::Everything,
            2 => Left::Last,
            _ => Left::Some(moment),
        };
        let disk = PowerCut::device(DISK_BYTES).cut_at(moment);
        let mut told = Told::default();
        let mut bench = Bench::boot(&disk, START.unix_ns).expect("the cut comes later");
        let ended = go_on(&mut bench, &matrix, &mut told);
        assert!(ended.is_err() || disk.is_off(), "the power went");
        drop(bench);
        check(&disk.found(left), &matrix, &told);
    }
}
