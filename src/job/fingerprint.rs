//! What a request asks for, in 32 bytes: the same for the same matrices, factors and form of the
//! reply, however they were written.

use alloc::vec::Vec;

use crate::gemm::{Element, Shape};
use crate::job::reply::ReplyForm;
use crate::ledger::hash::Hash;

/// Names what is hashed, and how. Fingerprints are kept on volumes, so another way of making them
/// needs another name.
const CONTEXT: &[u8] = b"gemmule request 1";

/// Which fingerprint a job is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fingerprinting {
    /// Any: it is not found.
    #[default]
    Off,
    /// Any: it is found, and told with the outcome.
    Find,
    /// This one. The job fails before it multiplies where it has another.
    Expect(Hash),
}

/// What is known of a request before it is multiplied.
#[derive(Debug)]
pub(super) struct Asked<'a, T> {
    pub shape: Shape,
    pub factors: (T, T),
    /// Of A, B, and C where it is read.
    pub operands: [Option<Hash>; 3],
    pub reply: &'a ReplyForm,
}

impl<T: Element> Asked<'_, T> {
    pub fn fingerprint(&self) -> Hash {
        let mut bytes = Vec::with_capacity(256);
        let mut part = |part: &[u8]| {
            // With its length before it, no part can pass for two.
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        part(CONTEXT);
        part(T::DTYPE.name().as_bytes());
        let Shape { m, n, k } = self.shape;
        for length in [m, n, k] {
            part(&(length as u64).to_le_bytes());
        }
        part(bytemuck::bytes_of(&self.factors.0));
        part(bytemuck::bytes_of(&self.factors.1));
        for digest in &self.operands {
            part(digest.as_ref().map_or(&[], |digest| &digest.0));
        }
        let ReplyForm { format, coding, inference } = self.reply;
        part(format.media_type().as_bytes());
        part(coding.map_or("", |coding| coding.name()).as_bytes());
        if let Some(reply) = inference {
            part(reply.model.name().as_bytes());
            part(&[u8::from(reply.is_binary), u8::from(reply.id.is_some())]);
            part(reply.id.as_deref().unwrap_or("").as_bytes());
        }
        Hash(blake3::hash(&bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Format;
    use crate::formats::coding::Coding;
    use crate::inference::{self, Model};
    use alloc::boxed::Box;
    use alloc::collections::BTreeSet;
    use alloc::string::String;

    #[test]
    fn all_that_changes_the_reply_changes_the_fingerprint() {
        let json = ReplyForm { format: Format::Json, coding: None, inference: None };
        let digest = |byte| Some(Hash([byte; 32]));
        let asked = |reply| Asked {
            shape: Shape { m: 2, n: 3, k: 4 },
            factors: (1.0, 0.0),
            operands: [digest(1), digest(2), None],
            reply,
        };
        let infer = |id: Option<&str>, is_binary, model| {
            let id = id.map(String::from);
            let inference = Some(Box::new(inference::Reply { model, id, is_binary }));
            ReplyForm { inference, ..json.clone() }
        };
        let mut forms: Vec<ReplyForm> =
            Format::ALL.map(|format| ReplyForm { format, ..json.clone() }).into();
        forms.extend(
            [Coding::Gzip, Coding::Deflate]
                .map(|coding| ReplyForm { coding: Some(coding), ..json.clone() }),
        );
        let model = Model::MatmulFp64;
        forms.extend([None, Some(""), Some("1")].map(|id| infer(id, false, model)));
        forms.push(infer(None, true, model));
        forms.push(infer(None, false, Model::MatmulFp32));

        let mut found: Vec<Hash> = forms.iter().map(|it| asked(it).fingerprint()).collect();
        let json = &json;
        for shape in
            [Shape { m: 3, n: 2, k: 4 }, Shape { m: 2, n: 4, k: 3 }, Shape { m: 4, n: 3, k: 2 }]
        {
            found.push(Asked { shape, ..asked(json) }.fingerprint());
        }
        for factors in [(2.0, 0.0), (1.0, 1.0), (-0.0, 0.0), (0.0, 1.0)] {
            found.push(Asked { factors, ..asked(json) }.fingerprint());
        }
        for operands in [
            [digest(2), digest(1), None],
            [digest(1), digest(2), digest(3)],
            [digest(1), digest(3), None],
        ] {
            found.push(Asked { operands, ..asked(json) }.fingerprint());
        }
        let in_f32 = Asked {
            shape: Shape { m: 2, n: 3, k: 4 },
            factors: (1.0_f32, 0.0),
            operands: [digest(1), digest(2), None],
            reply: json,
        };
        found.push(in_f32.fingerprint());
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len());
        assert_eq!(found[0], asked(json).fingerprint());
    }
}
