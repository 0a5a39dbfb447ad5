//! Errors as clients see them: problem details (RFC 9457) with a stable type, the field at fault
//! and the limit.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::http::Response;

/// Makes the kinds of problems of a table of kind, name, HTTP status, and title.
macro_rules! problem_kinds {
    ($($kind:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// What is wrong, in the client's terms.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind {
            $($kind,)*
        }

        impl ProblemKind {
            /// Every kind, for the pages that explain them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            const fn facts(self) -> (&'static str, u16, &'static str) {
                match self {
                    $(Self::$kind => ($name, $status, $title),)*
                }
            }
        }
    };
}

problem_kinds! {
    MalformedRequest = "malformed-request", 400, "The request is not valid HTTP/1.1";
    MalformedDigest = "malformed-digest", 400, "The Content-Digest can't be read";
    DigestMismatch = "digest-mismatch", 400, "The content is not what its digest says";
    MalformedJson = "malformed-json", 400, "The body is not valid JSON";
    MalformedBody = "malformed-body", 400, "The body is not what its type says";
    Unauthorized = "unauthorized", 401, "A key is required";
    MalformedKey = "malformed-key", 401, "The key is mistyped";
    UnknownKey = "unknown-key", 401, "The key is not known";
    ExpiredKey = "expired-key", 401, "The key is not valid any more";
    RevokedKey = "revoked-key", 401, "The key was revoked";
    SpendingCapReached = "spending-cap-reached", 402, "The account's spending cap is reached";
    CreditExhausted = "credit-exhausted", 402, "The account's credit is used up";
    Forbidden = "forbidden", 403, "The key does not allow that";
    AccountClosed = "account-closed", 403, "The account is closed";
    UnknownPath = "unknown-path", 404, "There is nothing at this path";
    UnknownAccount = "unknown-account", 404, "There is no such account";
    UnknownKeyId = "unknown-key-id", 404, "No key has this id";
    UnknownJob = "unknown-job", 404, "No recent job has this id";
    UnknownMatrix = "unknown-matrix", 404, "The account keeps no such matrix";
    UnknownUpload = "unknown-upload", 404, "The account has no such upload";
    UnknownReference = "unknown-reference", 404, "The account calls no matrix by this name";
    UnknownPeriod = "unknown-period", 404, "There is no such month";
    UnknownModel = "unknown-model", 404, "There is no such model or version";
    UnknownProblem = "unknown-problem", 404, "No problem has this name";
    MethodNotAllowed = "method-not-allowed", 405, "This path does not take this method";
    NotAcceptable = "not-acceptable", 406, "No format of the reply is acceptable";
    RequestTimeout = "request-timeout", 408, "The request did not arrive in time";
    JobNotDone = "job-not-done", 409, "The job is not done";
    JobEnded = "job-ended", 409, "The job has ended";
    AccountExists = "account-exists", 409, "There is an account of this id already";
    KeyEnded = "key-ended", 409, "The key has ended";
    UploadInUse = "upload-in-use", 409, "Another request for the upload is being served";
    UploadIncomplete = "upload-incomplete", 409, "The upload is not whole";
    TooManyUploads = "too-many-uploads", 409, "The account has too many uploads open";
    TooManyReferences = "too-many-references", 409, "The account has given too many names";
    PreconditionFailed = "precondition-failed", 412, "The matrix is not as the condition has it";
    RangeNotSatisfiable = "range-not-satisfiable", 416, "The range is not where it can be";
    CursorExpired = "cursor-expired", 410, "The events behind this cursor are not kept";
    BodyTooLarge = "body-too-large", 413, "The body is larger than this machine takes";
    MemoryExceeded = "memory-exceeded", 413, "The job needs more memory than there is";
    TargetTooLong = "target-too-long", 414, "The request target is too long";
    UnsupportedMediaType = "unsupported-media-type", 415, "The content type is unknown";
    UnsupportedContentCoding = "unsupported-content-coding", 415, "The content coding is unknown";
    UnsupportedTransferCoding = "unsupported-transfer-coding", 501, "The transfer coding is unknown";
    ExpectationFailed = "expectation-failed", 417, "The expectation is unknown";
    DailyFlopsExceeded = "daily-flops-exceeded", 429, "The account's operations of a day are used up";
    TooManyJobs = "too-many-jobs", 429, "The account has too many jobs in progress";
    RateLimited = "rate-limited", 429, "The account asks too often";
    HeadTooLarge = "head-too-large", 431, "The request's fields are too large";
    NotOffered = "not-offered", 501, "This service does not offer that";
    VersionNotSupported = "version-not-supported", 505, "HTTP/1.0 and 1.1 are spoken";
    MissingField = "missing-field", 422, "A required field is missing";
    UnknownField = "unknown-field", 422, "The field is unknown";
    DuplicateField = "duplicate-field", 422, "The field appears twice";
    NotAMatrix = "not-a-matrix", 422, "A matrix is required";
    EmptyMatrix = "empty-matrix", 422, "A matrix without rows has no width";
    RaggedRows = "ragged-rows", 422, "The rows of a matrix must have one length";
    NotANumber = "not-a-number", 422, "A number is required";
    NumberNotFinite = "number-not-finite", 422, "NaN and infinity are not JSON numbers";
    NumberOutOfRange = "number-out-of-range", 422, "The number overflows the dtype";
    UnknownDtype = "unknown-dtype", 422, "The dtype is unknown";
    WrongType = "wrong-type", 422, "A value of another type is required";
    InvalidValue = "invalid-value", 422, "The value is not one that is taken";
    UnknownTensor = "unknown-tensor", 422, "The model has no tensor of this name";
    TextTooLong = "text-too-long", 422, "A text is too long";
    NotABoolean = "not-a-boolean", 422, "true or false is required";
    UnknownTariff = "unknown-tariff", 422, "There is no such tariff";
    DimensionTooLarge = "dimension-too-large", 422, "A matrix is too long or too wide";
    ShapeMismatch = "shape-mismatch", 422, "The shapes do not fit together";
    LengthMismatch = "length-mismatch", 422, "The body and its shapes have other lengths";
    TooManyRows = "too-many-rows", 422, "The reply would be too long";
    NoTariff = "no-tariff", 503, "The account has no tariff";
    MalformedIdempotencyKey = "malformed-idempotency-key", 400, "The Idempotency-Key can't be read";
    IdempotencyKeyInUse = "idempotency-key-in-use", 409, "A request with this key is being served";
    ReplyChanged = "reply-changed", 409, "The reply can't be made again";
    StorageExceeded = "storage-exceeded", 507, "The account would keep more than it may";
    LedgerFull = "ledger-full", 507, "The ledger's volume is full";
    LedgerUnavailable = "ledger-unavailable", 503, "The ledger can't be read";
    StorageFull = "storage-full", 507, "There is no room for the matrix";
    StorageDamaged = "storage-damaged", 500, "A stored matrix is damaged";
    StorageUnavailable = "storage-unavailable", 503, "Stored matrices can't be reached";
    IdempotencyKeyReused = "idempotency-key-reused", 422, "The idempotency key belongs to another request";
    ResultNotFinite = "result-not-finite", 422, "The result overflows the dtype";
    ArithmeticFault = "arithmetic-fault", 500, "The machine has computed a wrong result";
    DeadlineExceeded = "deadline-exceeded", 504, "The job was not done by its deadline";
    Overloaded = "overloaded", 503, "The machine is busy; try again";
    Draining = "draining", 503, "The machine is shutting down";
}

impl ProblemKind {
    /// The last segment of the type: stable, in kebab case.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    pub const fn status(self) -> u16 {
        self.facts().1
    }

    pub const fn title(self) -> &'static str {
        self.facts().2
    }
}

/// One error, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// What went wrong this time.
    pub detail: String,
    /// The place in the request at fault: a JSON pointer (RFC 6901) into the body, or the name of
    /// a header field.
    pub field: Option<String>,
    /// The bound that was exceeded.
    pub limit: Option<u64>,
    /// Response fields that go with it.
    pub response_fields: Vec<(&'static str, String)>,
    /// Whether a client of the inference protocol is told, which looks for an `error`.
    pub is_inference: bool,
}

impl Problem {
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            limit: None,
            response_fields: Vec::new(),
            is_inference: false,
        }
    }

    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    pub fn with_response_field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.response_fields.push((name, value.into()));
        self
    }

    /// For a client of the inference protocol.
    pub fn for_inference(mut self) -> Self {
        self.is_inference = true;
        self
    }

    pub fn into_response(self) -> Response {
        let response = Response {
            status: self.kind.status(),
            content_type: "application/problem+json",
            body: crate::api::to_json(&self).into(),
            fields: String::new(),
        };
        let fields = self.response_fields.iter();
        fields.fold(response, |response, (name, value)| response.with_field(name, value))
    }
}

impl Problem {
    /// The problem in one line, for clients that show nothing else.
    fn error(&self) -> String {
        match &self.field {
            Some(field) => format!("{}: {} (at {field})", self.kind.name(), self.detail),
            None => format!("{}: {}", self.kind.name(), self.detail),
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let optional = [self.field.is_some(), self.limit.is_some(), self.is_inference];
        let length = 4 + optional.map(usize::from).iter().sum::<usize>();
        let mut object = serializer.serialize_struct("Problem", length)?;
        object.serialize_field("type", &format!("/problems/{}", self.kind.name()))?;
        object.serialize_field("title", self.kind.title())?;
        object.serialize_field("status", &self.kind.status())?;
        object.serialize_field("detail", &self.detail)?;
        if let Some(field) = &self.field {
            object.serialize_field("field", field)?;
        }
        if let Some(limit) = self.limit {
            object.serialize_field("limit", &limit)?;
        }
        if self.is_inference {
            object.serialize_field("error", &self.error())?;
        }
        object.end()
    }
}
