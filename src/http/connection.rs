//! The server's side of one HTTP/1.1 connection.
//!
//! | state | what is read | leaves by |
//! |---|---|---|
//! | `Head` | a request head | whole: `Body`; refused: `Closing` |
//! | `Body` | content of the request | whole: `Respond` |
//! | `Respond` | nothing: pipelined bytes wait in the socket | a response: `Head`, or `Closing` |
//! | `Discard` | content of a request that is already answered | whole: `Head` |
//! | `Closing` | anything, dropped | the host closes |
//!
//! A response may be given from `Body` on; before the body is whole it leads to `Discard` where
//! the rest is short, and to `Closing` where it is not.

use alloc::string::String;
use alloc::vec::Vec;

use crate::http::body::{self, BodyError, BodyReader};
use crate::http::grammar::is_token_byte;
use crate::http::head::{HeadError, Method, RequestHead, check_line_ends};
use crate::http::payload::Piece;
use crate::http::response::{Content, Output, Response};
use crate::limits::{DISCARD_BYTES_MAX, HEAD_BYTES_MAX};
use crate::time::Now;

/// One connection: bytes in, events out; responses in, bytes out.
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// The head as far as it has come.
    head_text: Vec<u8>,
    /// The request now being served was `HEAD`.
    is_head: bool,
    /// Its client knows the chunked coding.
    takes_chunks: bool,
    /// The connection may outlive the request now being served.
    keep_alive: bool,
    /// The client waits for `100 Continue`.
    continue_wanted: bool,
    /// No further request is read after the one being served.
    is_last: bool,
    /// Fields that the response to the request now being served gets besides its own.
    response_fields: Vec<(&'static str, String)>,
}

#[derive(Debug)]
enum State {
    Head,
    Body(BodyReader),
    Respond,
    Discard(BodyReader),
    Closing,
}

/// What bytes meant.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request begins. Answer at once, or call [`Connection::accept_body`] and read on.
    Head(RequestHead),
    /// Content of the request's body.
    Content(&'a [u8]),
    /// The request is whole; nothing more is read until it is answered.
    End,
    /// Nothing yet: all bytes given are used up, or none can be used in this state.
    More,
}

/// The bytes are not HTTP: answer if possible, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Head(HeadError),
    Body(BodyError),
}

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Where the first end of a head ends that begins at `from` or later.
fn head_end(text: &[u8], from: usize) -> Option<usize> {
    let mut last = from + HEAD_END.len() - 1;
    while let Some(byte) = text.get(last) {
        if text[..=last].ends_with(HEAD_END) {
            return Some(last + 1);
        }
        // An end has no other bytes, so none that is still to come has this one.
        last += if matches!(byte, b'\r' | b'\n') { 1 } else { HEAD_END.len() };
    }
    None
}

impl Connection {
    #[expect(clippy::new_without_default, reason = "a connection is opened, not defaulted")]
    pub fn new() -> Self {
        Self {
            state: State::Head,
            head_text: Vec::new(),
            is_head: false,
            takes_chunks: false,
            keep_alive: true,
            continue_wanted: false,
            is_last: false,
            response_fields: Vec::new(),
        }
    }

    /// Whether bytes from the client can be used now.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Respond)
    }

    /// Between requests, with no byte of the next one seen.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.head_text.is_empty()
    }

    /// Reading a head of which some bytes have come.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.head_text.is_empty()
    }

    /// The last response is given; the connection is to be closed once it is sent.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// The request now being served is `HEAD`: there is no content in its response.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// The client of the request now being served knows the chunked coding.
    pub fn takes_chunks(&self) -> bool {
        self.takes_chunks
    }

    /// Takes bytes off the front of `input`: how many, and what they meant.
    pub fn receive<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Event<'a>), Broken> {
        match &mut self.state {
            State::Head => self.receive_head(input),
            State::Respond => Ok((0, Event::More)),
            State::Closing => Ok((input.len(), Event::More)),
            State::Body(reader) => {
                let (used, piece) = reader.read(input).map_err(Broken::Body)?;
                let event = match piece {
                    body::Piece::Content(content) => Event::Content(content),
                    body::Piece::More => Event::More,
                    body::Piece::End => {
                        self.state = State::Respond;
                        Event::End
                    }
                };
                Ok((used, event))
            }
            State::Discard(reader) => {
                let (used, _) = reader.read(input).map_err(Broken::Body)?;
                // At once, not with the next bytes: those are a request.
                if reader.is_done() {
                    self.state = State::Head;
                }
                Ok((used, Event::More))
            }
        }
    }

    /// Content bytes of the request's body that are still to come as they are, one behind the
    /// other.
    pub fn content_left(&self) -> Option<u64> {
        match &self.state {
            State::Body(reader) => reader.plain_bytes_left(),
            _ => None,
        }
    }

    /// So many of those were taken.
    pub fn pass_content(&mut self, bytes: usize) {
        if let State::Body(reader) = &mut self.state {
            reader.pass(bytes as u64);
        }
    }

    /// Gives back the last `bytes` of the content that was just taken: they will come again.
    pub fn unread(&mut self, bytes: usize) {
        if let State::Body(reader) = &mut self.state {
            reader.unread(bytes as u64);
        }
    }

    fn receive_head<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Event<'a>), Broken> {
        let before = self.head_text.len();
        let taken = input.len().min(HEAD_BYTES_MAX - before);
        self.head_text.extend_from_slice(&input[..taken]);
        // RFC 9112, section 2.2: empty lines before a request line are skipped.
        let empty_lines = self.head_text.chunks_exact(2).take_while(|two| two == b"\r\n").count();
        if empty_lines > 0 {
            self.head_text.clear();
            return Ok((2 * empty_lines - before, Event::More));
        }
        let scan_from = before.saturating_sub(HEAD_END.len() - 1);
        let Some(end) = head_end(&self.head_text, scan_from) else {
            self.check_incomplete_head(before).map_err(|error| self.broken_head(error))?;
            return Ok((taken, Event::More));
        };
        self.head_text.truncate(end);
        let head = RequestHead::parse(&self.head_text).map_err(|error| self.broken_head(error))?;
        self.head_text.clear();
        self.is_head = head.method == Method::Head;
        self.takes_chunks = head.takes_chunks;
        self.keep_alive = head.keep_alive;
        self.continue_wanted = head.expect_continue;
        self.state = State::Body(BodyReader::new(head.framing));
        Ok((end - before, Event::Head(head)))
    }

    /// What has come of a head may show already that it will be refused: `before` bytes of it were
    /// looked at earlier. Waiting for more would only keep the client from its answer.
    fn check_incomplete_head(&self, before: usize) -> Result<(), HeadError> {
        let text = &self.head_text;
        let previous = before.checked_sub(1).map_or(0, |last| text[last]);
        check_line_ends(previous, &text[before..])?;
        // A TLS greeting, say.
        if text.first().is_some_and(|byte| *byte != b'\r' && !is_token_byte(*byte)) {
            return Err(HeadError::Malformed("the request line"));
        }
        match text.len() {
            HEAD_BYTES_MAX if text.contains(&b' ') && !text.contains(&b'\n') => {
                Err(HeadError::TargetTooLong)
            }
            HEAD_BYTES_MAX => Err(HeadError::TooLarge),
            _ => Ok(()),
        }
    }

    /// Whatever is answered to the request now being served, its response gets these fields.
    pub fn add_response_fields(&mut self, fields: Vec<(&'static str, String)>) {
        self.response_fields = fields;
    }

    fn broken_head(&mut self, error: HeadError) -> Broken {
        self.is_head = false;
        Broken::Head(error)
    }

    /// The request's body is welcome: tells a client that waits to be told.
    pub fn accept_body(&mut self, output: &mut Output) {
        let State::Body(reader) = &self.state else { return };
        if self.continue_wanted && !reader.is_done() {
            output.push(Piece::Bytes(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
        }
        self.continue_wanted = false;
    }

    /// Answers the request that was read last, and decides what becomes of the connection.
    pub fn respond(&mut self, response: Response, now: Now, output: &mut Output) {
        self.begin_response(response, Content::Whole, now, output);
    }

    /// The same, with content that is pushed on the output later, unless the request is `HEAD`. No
    /// input may be brought before all of it was.
    pub fn begin_response(
        &mut self,
        mut response: Response,
        content: Content,
        now: Now,
        output: &mut Output,
    ) {
        // RFC 9112, section 6.3: content without a length and chunks ends with the connection.
        self.is_last |= content == Content::Endless { is_chunked: false };
        let state = core::mem::replace(&mut self.state, State::Closing);
        let next = match state {
            _ if self.is_last || !self.keep_alive => State::Closing,
            State::Respond => State::Head,
            State::Body(reader) if reader.is_done() => State::Head,
            // A client that asked to be told whether to send may still send (RFC 9110, section
            // 10.1.1), so what follows can't be told to be a body or a request.
            State::Body(_) if self.continue_wanted => State::Closing,
            State::Body(reader)
                if reader.bytes_left().is_some_and(|left| left <= DISCARD_BYTES_MAX) =>
            {
                State::Discard(reader)
            }
            _ => State::Closing,
        };
        let keep_alive = !matches!(next, State::Closing);
        self.state = next;
        for (name, value) in self.response_fields.drain(..) {
            response = response.with_field(name, &value);
        }
        response.write(content, now, keep_alive, self.is_head, output);
    }

    /// Answers what can't be understood, or comes too slowly, and closes.
    pub fn respond_and_close(&mut self, response: Response, now: Now, output: &mut Output) {
        self.is_last = true;
        self.respond(response, now, output);
    }

    /// No further request is read: the one being served is the last.
    pub fn close_after_response(&mut self) {
        self.is_last = true;
        if self.is_idle() {
            self.state = State::Closing;
        }
    }

    /// No more bytes will come: a request that is whole is the last, and what is incomplete will
    /// never be.
    pub fn end_input(&mut self) {
        match self.state {
            State::Respond => self.is_last = true,
            _ => self.state = State::Closing,
        }
    }
}
