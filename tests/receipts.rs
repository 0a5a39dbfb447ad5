//! Receipts: what is signed can be verified by anybody, and nothing else can.

use std::fs;
use std::process::{self, Command};

use gemmule::ledger::receipt::{PublicKey, Receipt, ReceiptError, ReceiptKey, Served};
use serde_json::{Value, json};

const LINE: &str =
    r#"{"sequence":7,"previous":"00ff","charge":{"account":"müller-ag","amount_micros":12}}"#;

fn key(secret: u8) -> ReceiptKey {
    ReceiptKey::from_secret(&[secret; 32])
}

fn text_of(receipt: &Receipt) -> Vec<u8> {
    serde_json::to_vec(receipt).expect("a receipt has a text")
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn signatures_are_those_of_the_standard() {
    let secret = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let byte = |at| u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).expect("digits");
    let key = ReceiptKey::from_secret(&std::array::from_fn(byte));
    assert_eq!(key.public_key().to_string(), "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=");
    let expected = concat!(
        r#"{"entry":"r","#,
        r#""hash":"454349e422f05297191ead13e21d3db520e5abef52055e4964b82fb213f593a1","#,
        r#""key":"39f713d0a644253f","signature":"kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vb"#,
        r#"adoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA=="}"#
    );
    assert_eq!(String::from_utf8(text_of(&key.sign("r"))).expect("text"), expected);
}

#[test]
fn a_receipt_is_verified_with_the_key_that_it_names() {
    let keys = [key(1).public_key(), key(2).public_key()];
    for secret in [1, 2] {
        let receipt = key(secret).sign(LINE);
        assert_eq!(receipt, key(secret).sign(LINE), "signatures are deterministic");
        let read = Receipt::parse(&text_of(&receipt)).expect("a receipt");
        assert_eq!((read.entry.as_str(), read.verify(&keys)), (LINE, Ok(())));
    }
    let strange = key(3).sign(LINE);
    assert_eq!(strange.verify(&keys), Err(ReceiptError::UnknownKey(key(3).id())));
    assert_eq!(strange.verify(&[]), Err(ReceiptError::UnknownKey(key(3).id())));
    // One that says it is signed with another key than it is.
    let mut forged = strange;
    forged.key = key(1).id();
    assert_eq!(forged.verify(&keys), Err(ReceiptError::WrongSignature));
}

#[test]
fn a_receipt_with_one_byte_changed_is_refused() {
    let keys = [key(1).public_key()];
    let whole = text_of(&key(1).sign(LINE));
    let is_good =
        |text: &[u8]| Receipt::parse(text).is_ok_and(|receipt| receipt.verify(&keys).is_ok());
    assert!(is_good(&whole));
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        for byte in 0..=u8::MAX {
            changed[place] = byte;
            assert_eq!(is_good(&changed), byte == whole[place], "byte {place} as {byte}");
        }
        assert!(!is_good(&whole[..place]), "cut to {place}");
    }
}

#[test]
fn a_changed_line_with_its_own_hash_is_refused() {
    let receipt = key(1).sign(LINE);
    let other = key(2).sign(&LINE.replace("12}", "13}"));
    let mut forged = receipt.clone();
    forged.hash = other.hash;
    assert_eq!(forged.verify(&[key(1).public_key()]), Err(ReceiptError::WrongHash));
    forged.entry = other.entry;
    assert_eq!(forged.verify(&[key(1).public_key()]), Err(ReceiptError::WrongSignature));
}

#[test]
fn keys_are_read_as_they_are_written() {
    let public = key(9).public_key();
    assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
    let text = serde_json::to_string(&public).expect("text");
    assert_eq!(text, format!("\"{public}\""));
    assert_eq!(serde_json::from_str::<PublicKey>(&text).expect("a key"), public);
    for wrong in ["", "AA==", &public.to_string()[1..], &format!(" {public}")] {
        assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
    }
    let secret = key(9).secret();
    assert_eq!(ReceiptKey::from_secret(&secret).public_key(), public);
    assert_eq!(format!("{:?}", key(9)), format!("ReceiptKey({})", public.id()));
}

const JOB: &str = "0199a1b2c3d400112233445566778899";

/// The entry of a step of a job.
fn charge(sequence: u64, job: &str) -> String {
    let charge = json!({
        "account": "acme", "job": JOB, "task": job, "m": 2, "n": 3, "k": 4, "dtype": "f64",
        "flops": 48, "bytes_in": 0, "bytes_out": 0, "tariff": "standard", "tariff_version": 1,
        "amount_micros": sequence, "currency": "EUR", "kernel": "portable", "elapsed_us": 1,
    });
    entry(sequence, "charge", &charge)
}

fn entry(sequence: u64, kind: &str, record: &Value) -> String {
    let previous = "0".repeat(64);
    json!({"sequence": sequence, "previous": previous, "at_unix_ns": 1, kind: record}).to_string()
}

fn of_job(receipts: &[Receipt]) -> Value {
    json!({"job": JOB, "receipts": receipts})
}

/// What `gemmule receipt verify` says of a document, line by line, and its status.
fn verify(name: &str, document: &Value) -> (Vec<String>, Vec<String>, Option<i32>) {
    let path = std::env::temp_dir().join(format!("gemmule-{name}-{}.json", process::id()));
    fs::write(&path, document.to_string()).expect("it is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gemmule"));
    command.args(["receipt", "verify"]).arg(&path);
    let output = command.args(["--key", &key(1).public_key().to_string()]).output();
    fs::remove_file(&path).expect("it is there");
    let output = output.expect("the binary runs");
    let lines = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(&path.display().to_string(), "FILE");
        text.lines().map(String::from).collect()
    };
    (lines(&output.stdout), lines(&output.stderr), output.status.code())
}

fn said(sequence: u64) -> String {
    format!("entry {sequence} charges acme {sequence} EUR micros for job {JOB}, 2 x 3 x 4 in f64")
}

#[test]
fn the_command_line_verifies_one_receipt() {
    let receipt = key(1).sign(&charge(7, JOB));
    let said_of_it = vec![format!("FILE: {}", said(7))];
    assert_eq!(verify("one", &json!(receipt)), (said_of_it, vec![], Some(0)));
    let strange = verify("strange", &json!(key(2).sign(&charge(7, JOB))));
    assert_eq!((strange.0, strange.2), (vec![], Some(1)));
}

#[test]
fn the_command_line_verifies_each_receipt_of_a_job() {
    let mut receipts: Vec<_> = [7, 8, 9].map(|it| key(1).sign(&charge(it, JOB))).into();
    let line = |place: u64| format!("FILE: receipt {place} of 3: {}", said(place + 6));
    let all = vec![line(1), line(2), line(3)];
    assert_eq!(verify("job", &of_job(&receipts)), (all, vec![], Some(0)));
    let others = vec![line(1), line(3)];
    let mut of_another_line = receipts[1].clone();
    of_another_line.hash = receipts[0].hash;
    let mut rewritten = receipts[0].clone();
    rewritten.entry = charge(8, JOB);
    rewritten.hash = receipts[1].hash;
    let credit = json!({"account": "acme", "amount_micros": 8, "reason": "prepaid"});
    let credit = entry(8, "credit", &credit);
    let unknown = format!("signed with {}, which is none of the keys", key(2).id());
    for (forged, why) in [
        (key(2).sign(&charge(8, JOB)), unknown.as_str()),
        (key(1).sign(&charge(8, &JOB.replace('9', "8"))), "entry 8 is not of this job"),
        (key(1).sign(&credit), "the entry is no charge"),
        (of_another_line, "the hash is not that of the entry"),
        (rewritten, "the signature is not one of this entry"),
    ] {
        receipts[1] = forged;
        let complaint = vec![format!("gemmule: FILE: receipt 2 of 3: {why}")];
        assert_eq!(verify("forged", &of_job(&receipts)), (others.clone(), complaint, Some(1)));
    }
}

#[test]
fn a_job_without_receipts_is_refused() {
    let complaint = vec!["gemmule: FILE: there is no receipt in it".to_owned()];
    assert_eq!(verify("empty", &of_job(&[])), (vec![], complaint, Some(1)));
    // A list is refused for what is wrong with it, and one receipt for what is wrong with that.
    for (document, why) in [
        (json!({"job": JOB, "receipts": [{}]}), "missing field `entry`"),
        (json!({"receipts": []}), "missing field `job`"),
        (json!({"job": JOB, "receipts": [], "more": 1}), "unknown field `more`"),
        (json!({"job": JOB}), "unknown field `job`"),
    ] {
        let error = Served::parse(document.to_string().as_bytes()).expect_err("it is none");
        assert!(error.to_string().contains(why), "{document}: {error}");
    }
}
