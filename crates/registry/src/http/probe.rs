//! Connections beside the HTTP client's own, which only find something out about a server.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, Stream};
use url::Url;

use super::tls::{self, Trust};

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the server of a loopback address answers a TLS greeting in TLS.
pub(crate) fn speaks_tls(url: &Url) -> bool {
    first_byte(url).is_some_and(|byte| matches!(byte, 0x15 | 0x16))
}

/// The first byte that a server answers to a TLS greeting, at the first of its addresses that takes a connection.
fn first_byte(url: &Url) -> Option<u8> {
    let mut connection = greet(url, tls::config(Trust::Skip, None).ok()?)?;
    let mut greeting = Vec::new();
    connection.write_tls(&mut greeting).ok()?;
    let mut socket = connect(url)?;
    socket.write_all(&greeting).ok()?;
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

/// A server's alert about our certificate, or about our having none. It comes after the handshake is over for us. Over
/// HTTP/2 the client is sending already by then, and the alert may be lost with the connection; here we only listen.
pub(super) fn complaint(url: &Url, config: ClientConfig) -> Option<Error> {
    let mut connection = greet(url, config)?;
    let mut socket = connect(url)?;
    let failure = Stream::new(&mut connection, &mut socket).read(&mut [0]).err()?;
    failure.get_ref()?.downcast_ref().cloned()
}

fn greet(url: &Url, config: ClientConfig) -> Option<ClientConnection> {
    let name = ServerName::try_from(host(url)?.to_owned()).ok()?;
    ClientConnection::new(Arc::new(config), name).ok()
}

fn connect(url: &Url) -> Option<TcpStream> {
    let mut addresses = (host(url)?, url.port_or_known_default()?).to_socket_addrs().ok()?;
    let socket = addresses.find_map(|it| TcpStream::connect_timeout(&it, TIMEOUT).ok())?;
    socket.set_read_timeout(Some(TIMEOUT)).ok()?;
    Some(socket)
}

fn host(url: &Url) -> Option<&str> {
    Some(url.host_str()?.trim_matches(['[', ']']))
}
