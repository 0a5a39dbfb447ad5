//! Every bound of the service, stated once.
//!
//! `GET /v1/version` reports these numbers and the table in `docs/api.md` is tested against them,
//! so that a user reads the same figures that the code enforces.

use crate::time::SECOND_NS;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bytes of a request's head: request line, fields and the empty line.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
/// Fields in a request's head.
pub const FIELDS_MAX: usize = 64;
/// Bytes of a request target.
pub const TARGET_BYTES_MAX: usize = 2 * KIB;
/// Bytes of one chunk-size line of a chunked body, extensions included.
pub const CHUNK_LINE_BYTES_MAX: usize = KIB;
/// Bytes of all trailer fields after a chunked body.
pub const TRAILER_BYTES_MAX: usize = 4 * KIB;
/// A refused request's body up to this size is read and dropped, so that the connection lives on;
/// before a longer one the connection is closed.
pub const DISCARD_BYTES_MAX: u64 = 64 * KIB as u64;

/// From the first byte of a head to its last.
pub const HEAD_TIMEOUT_NS: u64 = 10 * SECOND_NS;
/// Between requests on a kept-alive connection.
pub const IDLE_TIMEOUT_NS: u64 = 75 * SECOND_NS;
/// A body, or a reply, may stand still for this long, and may take this long more than it would at
/// [`TRANSFER_BYTES_PER_SECOND_MIN`].
pub const TRANSFER_GRACE_NS: u64 = 20 * SECOND_NS;
/// The slowest client that is still served.
pub const TRANSFER_BYTES_PER_SECOND_MIN: u64 = 8 * KIB as u64;
/// After a connection's last reply: how long its sender may take to notice.
pub const LINGER_TIMEOUT_NS: u64 = 2 * SECOND_NS;
/// After the order to stop: how long jobs may still run, and clients take for what they are owed.
pub const DRAIN_TIMEOUT_NS: u64 = 30 * SECOND_NS;

/// Bytes of memory that requests of all clients may hold at once, where the host sets no other.
pub const MEMORY_BYTES_DEFAULT: usize = 1024 * MIB;
/// Bytes of memory for the pages of a volume, where the host sets no other. What a commit changes
/// is less, and so is what it has to read but for rows of long ago.
pub const VOLUME_CACHE_BYTES_DEFAULT: usize = 8 * MIB;
/// The largest number of rows or columns of a matrix.
pub const DIMENSION_MAX: usize = 1 << 24;
/// Connections open at once, where the host sets no other.
pub const SESSIONS_MAX_DEFAULT: usize = 1024;
/// Bills kept for `GET /v1/jobs/{id}/bill`.
pub const RECENT_BILLS_MAX: usize = 4096;
/// Idempotency keys kept where there is no volume.
pub const RECENT_KEYS_MAX: usize = 65_536;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Console lines kept for a host that prints more slowly than jobs finish.
pub const CONSOLE_LINES_MAX: usize = 8192;
/// Bytes of a reply that are read from where a matrix is stored while as many are sent.
pub const STREAM_PIECE_BYTES: usize = MIB;
/// As many where memory is short.
pub const STREAM_PIECE_BYTES_MIN: usize = 64 * KIB;
/// Bytes of events that a client may leave unread; at more it loses its connection.
pub const EVENT_BACKLOG_BYTES_MAX: usize = 64 * KIB;
/// After a stream of events has been still for so long, a comment is sent, so that nobody between
/// takes it for dead (HTML, section 9.2.7).
pub const EVENTS_KEEP_ALIVE_NS: u64 = 15 * SECOND_NS;
/// A job whose body is at most this long, and whose product takes at most [`SMALL_JOB_FLOPS`], is
/// run where it arrives: handing it to another core would cost more than the work.
pub const SMALL_JOB_BYTES: usize = 16 * KIB;
/// See [`SMALL_JOB_BYTES`].
pub const SMALL_JOB_FLOPS: u64 = 2_000_000;

/// Bytes of an account's id.
pub const ACCOUNT_ID_BYTES_MAX: usize = 32;
/// Bytes of an account's name.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 256;
/// Bytes of what a key says it is for.
pub const KEY_LABEL_BYTES_MAX: usize = 128;
/// Requests a second that an account's limit can be; more is no limit on any machine.
pub const ACCOUNT_REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;
/// Requests at once, before the limit a second counts.
pub const ACCOUNT_BURST_MAX: u32 = 1_000_000;
/// Jobs in progress that an account's limit can be.
pub const ACCOUNT_JOBS_AT_ONCE_MAX: u32 = 1_000_000;

/// Matrices kept at once, by all accounts; each takes some memory while the machine runs.
pub const MATRICES_MAX: usize = 65_536;

/// Jobs that go on by themselves and run at once, each in its memory.
pub const TASKS_RUNNING_MAX: usize = 4;
/// Jobs that go on by themselves and have not ended, of all accounts.
pub const TASKS_WAITING_MAX: usize = 10_000;
/// Jobs that have ended and are listed still.
pub const TASKS_ENDED_MAX: usize = 1024;
/// Jobs in one reply that lists them.
pub const TASKS_PER_REPLY: usize = 100;
/// How long a volume keeps what became of a job that has ended: 30 days.
pub const TASKS_KEPT_SECONDS: u64 = 30 * 24 * 60 * 60;
/// How long the results of a job are kept that does not say: a day.
pub const JOB_KEEP_SECONDS_DEFAULT: u64 = 24 * 60 * 60;
/// The longest that a request can ask to wait for a job.
pub const WAIT_SECONDS_MAX: u64 = 60;
/// Matrices, or names of some, in one reply.
pub const MATRICES_PER_REPLY: usize = 1000;
/// Bytes of a name that an account gives to a matrix.
pub const REFERENCE_NAME_BYTES_MAX: usize = 128;
/// Names that an account gives.
pub const REFERENCES_MAX: usize = 10_000;
/// Bytes of one chunk of an upload: it is in memory until it is on the disk.
pub const CHUNK_BYTES_MAX: usize = 64 * MIB;
/// Uploads that an account has open.
pub const UPLOADS_MAX: usize = 64;
/// An upload of which nothing has come for so long is given up.
pub const UPLOAD_IDLE_NS: u64 = 24 * 60 * 60 * SECOND_NS;

/// Accounts in one reply that lists them.
pub const ACCOUNTS_PER_REPLY: usize = 1000;
/// How long the key is valid that is printed where nobody has one to administer with.
pub const FIRST_KEY_SECONDS: u64 = 24 * 60 * 60;
/// Requests a second whose refusal for want of a good key is sent at once, over all clients.
pub const BAD_KEYS_PER_SECOND: u64 = 100;
/// As many at once, before that rate counts.
pub const BAD_KEYS_AT_ONCE: u64 = 100;
/// How long the others wait for their refusal, and their connections with them.
pub const BAD_KEY_DELAY_NS: u64 = SECOND_NS;
/// At most one in so many sessions waits so; others are refused and closed.
pub const BAD_KEY_SESSIONS_SHARE: usize = 4;
/// Rows of one reply about usage, and lines of an invoice.
pub const READOUT_ROWS_MAX: usize = 4096;
/// Hours that one reply about usage spans: a year.
pub const READOUT_HOURS_MAX: u32 = 366 * 24;
/// Sums of an hour, an account and a dtype that one reply about all accounts adds up. The thread
/// that serves all connections does it.
pub const READOUT_SUMS_MAX: usize = 100_000;
/// Events in one reply.
pub const EVENTS_MAX: usize = 1000;
/// As many, unless the request says how many.
pub const EVENTS_DEFAULT: usize = 100;
/// Entries of the ledger that are looked at for one reply with events.
pub const EVENT_ENTRIES_MAX: usize = 10_000;

/// A product of so many operations or more, for each element of its three matrices, has its
/// residual checked. An element takes the check a tenth of a nanosecond, in either dtype, so that
/// this is less than a fiftieth of the product at 130 and 260 GFLOP/s, and less where a core does
/// fewer.
pub const CHECKED_FLOPS_PER_ELEMENT_MIN_F64: u64 = 800;
/// See [`CHECKED_FLOPS_PER_ELEMENT_MIN_F64`].
pub const CHECKED_FLOPS_PER_ELEMENT_MIN_F32: u64 = 1600;

/// Shorter text is sent as it is, though its client takes it compressed: it fits a packet.
pub const COMPRESSED_TEXT_BYTES_MIN: usize = KIB;

/// The memory promised for a JSON body before its first byte is read, per byte of it: the text
/// itself, and the numbers in it. A number takes at least two bytes of text (`1,`) and at most
/// eight of memory.
pub const JSON_MEMORY_FACTOR: usize = 1 + 8 / 2;
/// The memory promised for the smallest JSON body, so that reading it has a few bytes of room.
pub const JSON_MEMORY_BYTES_MIN: usize = 64;
/// Bytes of a JSON body in which no matrix comes.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * KIB;
/// Bytes of the header of one NumPy array; as many as NumPy itself reads.
pub const NPY_HEADER_BYTES_MAX: usize = 10_000;
/// Bytes of one header in a zip archive, with its names and comments.
pub const ZIP_RECORD_BYTES_MAX: usize = 4096;
/// Bytes of the header of a safetensors file.
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 64 * KIB;
/// Bytes of the JSON of an `infer` request whose tensors follow it as bytes. All of it but the
/// numbers is read at once, by the thread that serves all connections.
pub const INFERENCE_HEADER_BYTES_MAX: usize = 16 * MIB;
/// Bytes of the id of an `infer` request, which its reply repeats.
pub const INFERENCE_ID_BYTES_MAX: usize = KIB;
/// The longest text of one `f64` in a result, its comma included:
/// `-2.2250738585072014e-308,` is 25 bytes.
pub const JSON_NUMBER_BYTES_MAX: usize = 25;

/// Operands of a job of several steps.
pub const JOB_OPERANDS_MAX: usize = 512;
/// Bytes of the text of its expressions.
pub const EXPRESSION_BYTES_MAX: usize = 64 * KIB;
/// Names and operations in its expressions.
pub const EXPRESSION_NODES_MAX: usize = 1024;
/// Expressions within each other.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// Factors of one product. Choosing their order takes the cube of it in steps.
pub const CHAIN_LENGTH_MAX: usize = 64;
/// The largest exponent of a power.
pub const EXPONENT_MAX: u64 = 1_000_000;
/// Products of a batch.
pub const BATCH_MAX: usize = 256;
/// Results of a job of several steps.
pub const JOB_RESULTS_MAX: usize = 256;
/// Steps of a job, each of which has its line on the bill.
pub const JOB_STEPS_MAX: usize = 1024;
/// How often a matrix is applied to a vector by one step.
pub const ITERATE_STEPS_MAX: u64 = 1_000_000_000;
/// One that keeps the last state alone is cut into several steps of about so many operations, each
/// of which lasts when it is done: a quarter of an hour or so, as the matrix has to come from
/// memory.
pub const ITERATE_STEP_FLOPS: u64 = 10_000_000_000_000;
/// Steps that it is cut into at most.
pub const ITERATE_CUTS_MAX: u64 = 64;
/// States that such a step keeps.
pub const SNAPSHOTS_MAX: u64 = 65_536;
/// Bytes of the name of an operand or a result within a job.
pub const OPERAND_NAME_BYTES_MAX: usize = 32;
/// The highest priority of a job.
pub const PRIORITY_MAX: u8 = 9;
/// The priority of a job that names none.
pub const PRIORITY_DEFAULT: u8 = 5;
/// How far ahead the deadline of a job can be: 31 days.
pub const JOB_DEADLINE_SECONDS_MAX: u64 = 31 * 24 * 60 * 60;
/// How long a matrix can be kept that is not kept for good: ten years.
pub const KEEP_SECONDS_MAX: u64 = 3650 * 24 * 60 * 60;

/// Bytes of the name of a tariff.
pub const TARIFF_NAME_BYTES_MAX: usize = 32;
/// Bytes of the name of a step of a job, as its bill tells it.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// The highest price of a tariff, in micro-units: a million units of the currency, for 10^12
/// operations, for 10^9 bytes, or as a job's minimum. With it, sums are within 128 bits.
pub const PRICE_MICROS_MAX: u64 = 1_000_000_000_000;
/// The most that a job costs, in micro-units, whatever it used: the largest whole number that every
/// reader of JSON takes to the last digit (RFC 8259, section 6).
pub const AMOUNT_MICROS_MAX: u64 = (1 << 53) - 1;
/// Rates of a tariff for those who multiply much.
pub const VOLUME_TIERS_MAX: usize = 16;
/// The last second of Unix time whose nanoseconds can be counted.
pub const UNIX_SECONDS_MAX: u64 = u64::MAX / SECOND_NS;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX, "a target is part of a head");
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize, "heads are indexed with u16");
const _: () = assert!(HEAD_TIMEOUT_NS < IDLE_TIMEOUT_NS, "a started request is more urgent");
const _: () = assert!(STREAM_PIECE_BYTES_MIN <= STREAM_PIECE_BYTES, "short pieces are shorter");
const _: () = assert!(
    EVENTS_KEEP_ALIVE_NS < IDLE_TIMEOUT_NS,
    "who waits for events is not still for longer than a client may be"
);
const _: () = assert!(SMALL_BODY_BYTES_MAX as u64 <= DISCARD_BYTES_MAX, "a small body is small");
const _: () = assert!(
    (SMALL_JOB_BYTES as u64) <= DISCARD_BYTES_MAX,
    "a job small enough to run at once is small enough to drop"
);
