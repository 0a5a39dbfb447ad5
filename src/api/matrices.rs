//! `/v1/matrices` and `/v1/references`: what is asked of matrices that stay, and how they are
//! described.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::admin::{given, not_null, rfc3339};
use crate::formats::settings::parse_shape;
use crate::gemm::Dtype;
use crate::limits::{MATRICES_PER_REPLY, REFERENCE_NAME_BYTES_MAX};
use crate::problem::{Problem, ProblemKind};
use crate::readout::Query;
use crate::store::{Keep, MatrixId, Stored};
use crate::text::push_hex;
use crate::time::SECOND_NS;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatrixCall {
    /// `POST /v1/matrices`
    Store,
    /// `GET /v1/matrices`
    List,
    /// `GET /v1/matrices/{address}`
    Read(MatrixId),
    /// `PATCH /v1/matrices/{address}`
    Change(MatrixId),
    /// `DELETE /v1/matrices/{address}`
    Remove(MatrixId),
    /// `POST /v1/matrices/uploads`
    Begin,
    /// `GET /v1/matrices/uploads/{id}`
    Progress(UploadId),
    /// `PATCH /v1/matrices/uploads/{id}`
    Append(UploadId),
    /// `PUT /v1/matrices/uploads/{id}`
    Complete(UploadId),
    /// `DELETE /v1/matrices/uploads/{id}`
    Cancel(UploadId),
    /// `GET /v1/references`
    References,
    /// `GET /v1/references/{name}`
    Reference(ReferenceName),
    /// `PUT /v1/references/{name}`
    Refer(ReferenceName),
    /// `DELETE /v1/references/{name}`
    Unrefer(ReferenceName),
}

impl MatrixCall {
    /// Whether it only reads what is stored.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::List | Self::Read(_) | Self::References | Self::Reference(_))
    }

    /// Whether its request has a small body in JSON.
    pub fn takes_small_body(&self) -> bool {
        matches!(self, Self::Change(_) | Self::Refer(_))
    }
}

/// Names an upload: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadId(pub [u8; 16]);

impl UploadId {
    pub fn parse(text: &str) -> Option<Self> {
        let is_digits = text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
        let number =
            u128::from_str_radix(text, 16).ok().filter(|_| is_digits && text.len() == 32)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        push_hex(&mut text, &self.0);
        f.write_str(&text)
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an account calls a matrix: letters, digits, `.`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ReferenceName(String);

impl ReferenceName {
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = (1..=REFERENCE_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(is_plain)
            && !text.starts_with('.');
        is_name.then(|| Self(String::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ReferenceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("the name is none"))
    }
}

/// For how long a matrix is to be kept, from when it is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    pub ttl_seconds: Option<u64>,
    pub is_pinned: bool,
}

impl Keeping {
    pub fn from(self, now_unix_ns: u64) -> Keep {
        let until = |seconds: u64| now_unix_ns.saturating_add(seconds.saturating_mul(SECOND_NS));
        Keep { until_unix_ns: self.ttl_seconds.map(until), is_pinned: self.is_pinned }
    }
}

/// The query of a request that brings a matrix, or begins to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreQuery {
    pub dtype: Option<Dtype>,
    pub shape: Option<(u64, u64)>,
    pub digest: Option<MatrixId>,
    pub name: Option<ReferenceName>,
    pub keeping: Keeping,
}

/// What is asked of an address, in problems.
const ADDRESS: &str = "sha256: and 64 hexadecimal digits";

impl StoreQuery {
    /// # Errors
    ///
    /// A problem that names the parameter at fault.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let names = &["dtype", "shape", "digest", "name", "ttl_seconds", "pinned"];
        let query = Query::parse(text, names)?;
        let dtype = query.value("dtype").map(|name| {
            Dtype::from_name(name).ok_or_else(|| {
                let detail = format!("{name:?} is not a dtype of this service: f64, f32");
                Problem::new(ProblemKind::UnknownDtype, detail).at("?dtype")
            })
        });
        let shape = query.value("shape").map(|shape| parse_shape(shape, "?shape"));
        let ttl = |text: &str| text.parse().ok().filter(|seconds| *seconds > 0);
        Ok(Self {
            dtype: dtype.transpose()?,
            shape: shape.transpose()?,
            digest: query.read("digest", ADDRESS, |text| text.parse().ok())?,
            name: query.read("name", NAME, ReferenceName::parse)?,
            keeping: Keeping {
                ttl_seconds: query.read("ttl_seconds", "a number of seconds", ttl)?,
                is_pinned: query
                    .read("pinned", "true or false", |text| text.parse().ok())?
                    .unwrap_or(false),
            },
        })
    }
}

/// The digest that a whole upload should have.
///
/// # Errors
///
/// That it is missing or is none.
pub fn digest_of(query: &str) -> Result<MatrixId, Problem> {
    let query = Query::parse(query, &["digest"])?;
    query.read("digest", ADDRESS, |text| text.parse().ok())?.ok_or_else(|| {
        let detail = "the digest that the matrix should have is required";
        Problem::new(ProblemKind::MissingField, detail).at("?digest")
    })
}

/// What is asked of a name, in problems.
const NAME: &str = "1 to 128 letters, digits, '.', '-' and '_', and no '.' first";

/// What of a list is wanted.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What comes behind this.
    pub after: Option<T>,
    pub limit: usize,
}

impl<T> Page<T> {
    /// # Errors
    ///
    /// A problem that names the parameter at fault.
    pub fn parse(text: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Self, Problem> {
        let query = Query::parse(text, &["after", "limit"])?;
        let is_some = |limit: &usize| (1..=MATRICES_PER_REPLY).contains(limit);
        let wanted = format!("a number from 1 to {MATRICES_PER_REPLY}");
        let limit = query.read("limit", &wanted, |text| text.parse().ok().filter(is_some))?;
        let after = query.read("after", "what a reply named as next", read)?;
        Ok(Self { after, limit: limit.unwrap_or(MATRICES_PER_REPLY) })
    }
}

/// `PATCH /v1/matrices/{address}`: what is not given stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatrixChange {
    /// From now on; `null`: for ever.
    #[serde(deserialize_with = "given")]
    pub ttl_seconds: Option<Option<u64>>,
    #[serde(deserialize_with = "not_null")]
    pub pinned: Option<bool>,
}

/// `PUT /v1/references/{name}`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReference {
    pub matrix: MatrixId,
}

/// A matrix as it is described.
#[derive(Debug, Serialize)]
pub struct MatrixView {
    pub matrix: MatrixId,
    pub dtype: &'static str,
    pub shape: [usize; 2],
    /// Of its elements.
    pub bytes: u64,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub pinned: bool,
    /// The names that its account has given it.
    pub references: Vec<String>,
}

impl MatrixView {
    pub fn of(stored: &Stored, references: Vec<String>) -> Self {
        let (layout, keep) = (stored.layout(), stored.keep());
        Self {
            matrix: stored.id(),
            dtype: layout.dtype.name(),
            shape: [layout.rows, layout.columns],
            bytes: layout.bytes(),
            created_at: rfc3339(stored.times_unix_ns().1),
            expires_at: keep.until_unix_ns.map(rfc3339),
            pinned: keep.is_pinned,
            references,
        }
    }
}

/// `GET /v1/matrices`
#[derive(Debug, Serialize)]
pub struct MatrixList {
    pub matrices: Vec<MatrixView>,
    /// The last one's address where there are more: `?after=` it gives them.
    pub next: Option<MatrixId>,
    /// Of all that the account keeps.
    pub count: usize,
    /// The same, with what is coming in.
    pub bytes: u64,
    /// The most that it may keep, where there is a limit.
    pub bytes_max: Option<u64>,
}

/// A name of a matrix.
#[derive(Debug, Serialize)]
pub struct ReferenceView {
    pub name: String,
    pub matrix: MatrixId,
}

/// `GET /v1/references`
#[derive(Debug, Serialize)]
pub struct ReferenceList {
    pub references: Vec<ReferenceView>,
    /// The last one's name where there are more: `?after=` it gives them.
    pub next: Option<String>,
}

/// An upload as it stands.
#[derive(Debug, Serialize)]
pub struct UploadView {
    pub upload: UploadId,
    /// Bytes that have come and last: the next chunk begins here.
    pub offset: u64,
    /// How many there will be, once that is known.
    pub bytes: Option<u64>,
    pub chunk_bytes_max: usize,
    pub expires_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_and_names_have_one_spelling() {
        let id = UploadId([0xab; 16]);
        let text = alloc::string::ToString::to_string(&id);
        assert_eq!(UploadId::parse(&text), Some(id));
        for wrong in ["", "ab", &text.to_uppercase(), &text[1..], &format!("+{}", &text[1..])] {
            assert_eq!(UploadId::parse(wrong), None, "{wrong}");
        }
        let long = "n".repeat(129);
        for (text, is_name) in [
            ("weights", true),
            ("W-1.2_b", true),
            (&long[..128], true),
            (&long, false),
            ("", false),
            (".", false),
            ("a/b", false),
            ("a b", false),
            ("\u{e4}", false),
        ] {
            assert_eq!(ReferenceName::parse(text).is_some(), is_name, "{text}");
        }
    }

    #[test]
    fn queries_are_read_whole() {
        let id = MatrixId(crate::ledger::hash::Hash::of(b"x"));
        let text = format!("dtype=f32&shape=2x3&digest={id}&name=w&ttl_seconds=60&pinned=true");
        let query = StoreQuery::parse(&text).expect("a query");
        let keeping = Keeping { ttl_seconds: Some(60), is_pinned: true };
        assert_eq!((query.dtype, query.shape), (Some(Dtype::F32), Some((2, 3))));
        assert_eq!((query.digest, query.keeping), (Some(id), keeping));
        assert_eq!(query.name.expect("a name").as_str(), "w");
        assert_eq!(keeping.from(7).until_unix_ns, Some(60 * SECOND_NS + 7));
        for (wrong, field) in [
            ("dtype=f16", "?dtype"),
            ("shape=2", "?shape"),
            ("digest=sha256:", "?digest"),
            ("name=", "?name"),
            ("ttl_seconds=0", "?ttl_seconds"),
            ("pinned=1", "?pinned"),
            ("alpha=1", "?alpha"),
        ] {
            let problem = StoreQuery::parse(wrong).expect_err("it is wrong");
            assert_eq!(problem.field.as_deref(), Some(field));
        }
        assert_eq!(digest_of(&format!("digest={id}")), Ok(id));
        assert_eq!(digest_of("").map_err(|problem| problem.kind), Err(ProblemKind::MissingField));
    }
}
