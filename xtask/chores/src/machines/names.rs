//! A name server on loopback that knows one answer: every name is 127.0.0.1, and has no other address.
//!
//! It shows that a program asks the name servers of /etc/resolv.conf.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// Where it answers; an address of loopback that no other name server has.
pub(super) const ADDRESS: &str = "127.83.84.82";
/// A name that no file has.
pub(super) const NAME: &str = "registry.machines.test";
const PORT: u16 = 53;
/// How long it takes to see that it should end.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The header of a message, and the type of a question for an IPv4 address.
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// A running name server; dropping it ends it.
#[derive(Debug)]
pub(super) struct NameServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopping: AtomicBool,
    n_answers: AtomicUsize,
}

impl NameServer {
    /// Starts one, as root.
    pub(super) fn start() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((ADDRESS, PORT)).context("starting a name server")?;
        socket.set_read_timeout(Some(POLL_INTERVAL)).context("a name server's time-out")?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&socket, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// How many questions it has answered.
    pub(super) fn n_answers(&self) -> usize {
        self.shared.n_answers.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut question = [0; 512];
    while !shared.is_stopping.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        let Some(answer) = answer(&question[..length]) else { continue };
        if socket.send_to(&answer, from).is_ok() {
            shared.n_answers.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The answer to a message with one question (RFC 1035); none to what isn't one.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let name_length = message.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    // The type and the class follow the name.
    let question = message.get(HEADER..HEADER + name_length + 4)?;
    let is_for_address = question[name_length..].starts_with(&TYPE_A);
    // A response, recursive as it was asked; one question, and one answer or none.
    let counts = [0x81, 0x80, 0, 1, 0, u8::from(is_for_address), 0, 0, 0, 0];
    let mut answer = [&message[..2], &counts, question].concat();
    if is_for_address {
        // The name of the question, type A, class IN, a time to live of 0 seconds, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question for `a.b`.
    fn question(kind: u8) -> Vec<u8> {
        [&[7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x01b\0", &[0, kind, 0, 1]].concat()
    }

    #[test]
    fn a_name_has_an_address_of_version_4_and_none_of_version_6() {
        let told = answer(&question(1)).unwrap();
        assert_eq!(told[..2], [7, 9]);
        assert!(told.ends_with(&[0, 4, 127, 0, 0, 1]), "{told:?}");
        let told = answer(&question(28)).unwrap();
        assert_eq!(told.len(), question(28).len());
        assert_eq!(told[6..8], [0, 0]);
        for length in 0..question(1).len() {
            assert_eq!(answer(&question(1)[..length]), None, "{length}");
        }
    }
}
