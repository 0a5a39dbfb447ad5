//! Receipts: what is signed can be verified by anybody, and nothing else can.

use gemmule::ledger::receipt::{PublicKey, Receipt, ReceiptError, ReceiptKey};

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
