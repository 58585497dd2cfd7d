//! A server that speaks HTTP/2 over TLS, frame by frame, and breaks off as it is told.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The types of frames, as in RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
/// `END_STREAM` of a frame with content, `ACK` of settings and pings.
const LAST: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is said to a request.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Status and headers.
    Head(u16, Vec<(&'static str, String)>),
    /// A part of the body.
    Part(Vec<u8>),
    /// The end of the body.
    End,
    /// This stream is given up, for a reason in numbers.
    Reset(u32),
    /// Nothing but the streams before this one is done on this connection.
    GoAway,
    /// Nothing more is read or said on this connection, which stays open.
    Silence,
}

/// An answer, and whether it waits for the whole request.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) is_early: bool,
    pub(crate) say: Vec<Say>,
}

impl Turn {
    /// A whole answer.
    pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let length = ("content-length", body.len().to_string());
        let head = Say::Head(status, headers.chain([length]).collect());
        Self::of(vec![head, Say::Part(body.to_vec()), Say::End])
    }

    /// These words, once the request is there.
    pub(crate) fn of(say: Vec<Say>) -> Self {
        Self { is_early: false, say }
    }
}

/// A server on loopback: each request gets the next turn, on whichever connection it comes; the last one again and again.
pub(crate) struct Server {
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    turns: VecDeque<Turn>,
    n_connections: usize,
    n_requests: usize,
}

impl Server {
    pub(crate) fn start(config: &Arc<ServerConfig>, turns: Vec<Turn>) -> Self {
        let mut config = ServerConfig::clone(config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = State { turns: turns.into(), n_connections: 0, n_requests: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                // What ends a connection is the client's to find out.
                thread::spawn(move || Talk::begin(socket?, config, state)?.serve());
            }
        });
        Self { host, state }
    }

    /// How many connections spoke HTTP/2.
    pub(crate) fn n_connections(&self) -> usize {
        self.state.lock().unwrap().n_connections
    }

    pub(crate) fn n_requests(&self) -> usize {
        self.state.lock().unwrap().n_requests
    }
}

struct Talk {
    stream: StreamOwned<ServerConnection, TcpStream>,
    state: Arc<Mutex<State>>,
}

struct Frame {
    kind: u8,
    flags: u8,
    id: u32,
    content: Vec<u8>,
}

impl Talk {
    fn begin(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        state: Arc<Mutex<State>>,
    ) -> io::Result<Self> {
        let connection = ServerConnection::new(config).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface)?;
        assert_eq!(preface, PREFACE);
        state.lock().unwrap().n_connections += 1;
        Ok(Self { stream, state })
    }

    fn serve(&mut self) -> io::Result<()> {
        self.write(SETTINGS, 0, 0, &[])?;
        let mut open = None;
        loop {
            let Frame { kind, flags, id, content } = self.read()?;
            match kind {
                SETTINGS if flags & LAST == 0 => self.write(SETTINGS, LAST, 0, &[])?,
                PING if flags & LAST == 0 => self.write(PING, LAST, 0, &content)?,
                HEADERS => {
                    assert!(flags & END_HEADERS != 0, "the tests' requests have short heads");
                    open = Some(self.turn());
                }
                DATA if !content.is_empty() => {
                    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
                    self.write(WINDOW, 0, 0, &length)?;
                    self.write(WINDOW, 0, id, &length)?;
                }
                _ => {}
            }
            let is_whole = flags & LAST != 0;
            let is_due = |turn: &mut Turn| is_whole || turn.is_early;
            if matches!(kind, HEADERS | DATA)
                && let Some(turn) = open.take_if(is_due)
            {
                self.say(id, turn)?;
            }
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.state.lock().unwrap();
        state.n_requests += 1;
        let is_last = state.turns.len() == 1;
        let turn = if is_last { state.turns.front().cloned() } else { state.turns.pop_front() };
        turn.unwrap()
    }

    fn say(&mut self, id: u32, turn: Turn) -> io::Result<()> {
        for say in turn.say {
            match say {
                Say::Head(status, headers) => {
                    self.write(HEADERS, END_HEADERS, id, &packed(status, &headers))?;
                }
                Say::Part(content) => {
                    content.chunks(16 << 10).try_for_each(|it| self.write(DATA, 0, id, it))?;
                }
                Say::End => self.write(DATA, LAST, id, &[])?,
                Say::Reset(code) => self.write(RESET, 0, id, &code.to_be_bytes())?,
                Say::GoAway => {
                    let last = id.saturating_sub(2).to_be_bytes();
                    self.write(GOAWAY, 0, 0, &[last, [0; 4]].concat())?;
                }
                Say::Silence => loop {
                    thread::park();
                },
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut content = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut content)?;
        Ok(Frame { kind, flags, id: u32::from_be_bytes(id), content })
    }

    fn write(&mut self, kind: u8, flags: u8, id: u32, content: &[u8]) -> io::Result<()> {
        let [_, a, b, c] = u32::try_from(content.len()).unwrap().to_be_bytes();
        let head = [&[a, b, c, kind, flags][..], &id.to_be_bytes()].concat();
        self.stream.write_all(&[&head, content].concat())?;
        self.stream.flush()
    }
}

/// A head as HPACK has it (RFC 7541), every name and value literally; 8 is the place of `:status` in its table.
fn packed(status: u16, headers: &[(&str, String)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    let mut packed = [&[0x08][..], &text(&status.to_string())].concat();
    for (name, value) in headers {
        packed.push(0);
        packed.extend([text(name), text(value)].concat());
    }
    packed
}
