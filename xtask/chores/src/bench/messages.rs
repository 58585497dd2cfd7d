//! Where the messages of HTTP/1.1 begin and end in the bytes of a connection.

/// What has just passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// A request's or a response's head; its first line.
    Head(String),
    /// The end of a message. Interim responses, as `100 Continue`, have neither.
    End,
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub(super) struct Messages {
    state: State,
    /// What a head without any length means.
    without_length: State,
    line: Vec<u8>,
    first: String,
    body: Option<State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    /// With the line's end after it.
    Chunk(u64),
    Trailer,
    UntilClose,
}

impl Messages {
    pub(super) fn requests() -> Self {
        Self::new(State::Body(0))
    }

    pub(super) fn responses() -> Self {
        Self::new(State::UntilClose)
    }

    fn new(without_length: State) -> Self {
        let (line, first) = (Vec::new(), String::new());
        Self { state: State::Head, without_length, line, first, body: None }
    }

    /// Takes the next bytes. `is_bare` says of a head's first line that no body follows, whatever the head says.
    pub(super) fn feed(&mut self, mut bytes: &[u8], is_bare: impl Fn(&str) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() && self.state != State::UntilClose {
            let n_bytes = match &mut self.state {
                State::Body(left) | State::Chunk(left) => {
                    let n_bytes = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n_bytes as u64;
                    n_bytes
                }
                _ => self.line(bytes, &is_bare, &mut events),
            };
            bytes = &bytes[n_bytes..];
            if self.state == State::Body(0) {
                events.push(Event::End);
                self.state = State::Head;
            } else if self.state == State::Chunk(0) {
                self.state = State::ChunkSize;
            }
        }
        events
    }

    /// Takes a line or the beginning of one; gives its length.
    fn line(
        &mut self,
        bytes: &[u8],
        is_bare: impl Fn(&str) -> bool,
        events: &mut Vec<Event>,
    ) -> usize {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let n_bytes = end.map_or(bytes.len(), |end| end + 1);
        self.line.extend_from_slice(&bytes[..n_bytes]);
        if end.is_some() {
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
            match self.state {
                State::ChunkSize => self.state = chunk(&line),
                State::Trailer if line.is_empty() => self.state = State::Body(0),
                State::Head if self.first.is_empty() => self.first = line,
                State::Head if line.is_empty() => events.extend(self.end_of_head(is_bare)),
                State::Head => self.header(&line),
                _ => {}
            }
        }
        n_bytes
    }

    /// Nothing where the head is an interim one.
    fn end_of_head(&mut self, is_bare: impl Fn(&str) -> bool) -> Option<Event> {
        let first = std::mem::take(&mut self.first);
        let body = self.body.take().unwrap_or(self.without_length);
        if first.starts_with("HTTP/1.1 1") {
            return None;
        }
        self.state = if is_bare(&first) { State::Body(0) } else { body };
        Some(Event::Head(first))
    }

    fn header(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let value = value.trim();
        if name.eq_ignore_ascii_case("Content-Length") {
            self.body = value.parse().ok().map(State::Body);
        } else if name.eq_ignore_ascii_case("Transfer-Encoding") {
            self.body = Some(State::ChunkSize);
        }
    }
}

fn chunk(line: &str) -> State {
    let size = line.split(';').next().unwrap_or_default();
    match u64::from_str_radix(size, 16) {
        Ok(0) => State::Trailer,
        Ok(size) => State::Chunk(size + 2),
        Err(_) => State::UntilClose,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(line: &str) -> Event {
        Event::Head(line.to_owned())
    }

    /// However the bytes are cut.
    #[track_caller]
    fn check(mut reader: impl FnMut() -> Messages, bytes: &str, expected: &[Event]) {
        let is_bare = |line: &str| line.contains("204");
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut messages = reader();
            let pieces = bytes.as_bytes().chunks(size);
            let events: Vec<_> = pieces.flat_map(|piece| messages.feed(piece, is_bare)).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn requests_end_with_their_bodies() {
        check(
            Messages::requests,
            "GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /\
             PATCH /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\na\n\n\r\n0\r\nT: 1\r\n\r\nGET /d HTTP/1.1\r\n",
            &[
                head("GET /a HTTP/1.1"),
                Event::End,
                head("PUT /b HTTP/1.1"),
                Event::End,
                head("PATCH /c HTTP/1.1"),
                Event::End,
            ],
        );
    }

    #[test]
    fn responses_end_with_their_bodies_which_some_have_not() {
        check(
            Messages::responses,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 204 No Content\r\n\
             Content-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 not a head\r\n\r\n",
            &[
                head("HTTP/1.1 200 OK"),
                Event::End,
                head("HTTP/1.1 204 No Content"),
                Event::End,
                head("HTTP/1.1 200 OK"),
            ],
        );
    }
}
