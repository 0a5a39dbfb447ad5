//! Server-sent events: the text of `text/event-stream` (HTML, section 9.2).

use alloc::string::String;

use crate::http::head::RequestHead;
use crate::text::push_number;

/// The media type of a stream of events.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// A line that every client ignores, sent so that nobody between takes the stream for dead.
pub const COMMENT: &str = ":\n\n";

/// One event, or part of one: what is empty or `None` is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent<'a> {
    /// Where a client goes on that has lost its connection: it brings it as `Last-Event-ID`.
    pub id: &'a str,
    /// What kind of event it is.
    pub event: &'a str,
    /// Any text. An event without data is none, though its id counts.
    pub data: &'a str,
    /// After how long a client that has lost its connection is to come back.
    pub retry_ms: Option<u64>,
}

impl ServerEvent<'_> {
    /// Its text, with the empty line that ends it.
    pub fn push(&self, text: &mut String) {
        push_line(text, "event", self.event);
        push_line(text, "id", self.id);
        if let Some(retry_ms) = self.retry_ms {
            text.push_str("retry: ");
            push_number(text, retry_ms);
            text.push('\n');
        }
        if !self.data.is_empty() {
            // CR LF, LF and CR each end a line for a client.
            for line in self.data.split('\n') {
                for line in line.strip_suffix('\r').unwrap_or(line).split('\r') {
                    text.push_str("data: ");
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text.push('\n');
    }
}

/// A field of one line; what can't be in one is left out.
fn push_line(text: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        text.push_str(name);
        text.push_str(": ");
        text.extend(value.chars().filter(|letter| !matches!(letter, '\n' | '\r' | '\0')));
        text.push('\n');
    }
}

/// The id of the last event that the client has seen; `None` where it says none, or none that was
/// ever sent.
pub fn last_event_id(head: &RequestHead) -> Option<&str> {
    let mut fields = head.field_values("last-event-id");
    match (fields.next(), fields.next()) {
        (Some(id), None) if !id.is_empty() => core::str::from_utf8(id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_that_no_text_breaks() {
        let event = ServerEvent { id: "", event: "", data: "", retry_ms: None };
        for (event, text) in [
            (ServerEvent { data: "a", ..event }, "data: a\n\n"),
            (
                ServerEvent { id: "7", event: "done", data: "{}", retry_ms: Some(2000) },
                "event: done\nid: 7\nretry: 2000\ndata: {}\n\n",
            ),
            (
                ServerEvent { data: "a\nb\r\nc\rd", ..event },
                "data: a\ndata: b\ndata: c\ndata: d\n\n",
            ),
            (ServerEvent { data: "\n", ..event }, "data: \ndata: \n\n"),
            (ServerEvent { data: " a", ..event }, "data:  a\n\n"),
            (ServerEvent { data: "a\n\nid: 8", ..event }, "data: a\ndata: \ndata: id: 8\n\n"),
            (ServerEvent { id: "7\n8", event: "a\rb\0", ..event }, "event: ab\nid: 78\n\n"),
            (ServerEvent { id: "7", ..event }, "id: 7\n\n"),
        ] {
            let mut written = String::new();
            event.push(&mut written);
            assert_eq!(written, text);
        }
    }

    #[test]
    fn the_last_event_is_one_that_was_sent() {
        for (fields, id) in [
            ("Last-Event-ID: 7\r\n", Some("7")),
            ("last-event-id:  a b \r\n", Some("a b")),
            ("Last-Event-ID: \r\n", None),
            ("Last-Event-ID: \u{e9}\r\n", Some("\u{e9}")),
            ("Last-Event-ID: 7\r\nLast-Event-ID: 8\r\n", None),
            ("", None),
        ] {
            let text = alloc::format!("GET / HTTP/1.1\r\nHost: g\r\n{fields}\r\n");
            let head = RequestHead::parse(text.as_bytes()).expect("a head");
            assert_eq!(last_event_id(&head), id, "{fields}");
        }
        let head = RequestHead::parse(b"GET / HTTP/1.1\r\nHost: g\r\nLast-Event-ID: \xff\r\n\r\n");
        assert_eq!(last_event_id(&head.expect("a head")), None);
    }
}
