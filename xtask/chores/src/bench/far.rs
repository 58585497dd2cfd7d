//! A line to a far place: 500 Mbit/s, and 100 ms for a round trip.
//!
//! ```text
//! client, in a network namespace ── TUN ──► packets, late ── TUN ──► registry, in this namespace
//! ```
//!
//! The kernel's own connections end on both sides, so each has the window that the kernel gives it, and loses what the line
//! can't hold.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kit::peers::docker_registry::{DockerRegistry, Setup, Transport};
use tun_rs::{DeviceBuilder, SyncDevice};
use xtask::run::output;

/// How many bytes pass in a second, each way.
const RATE: u32 = 500_000_000 / 8;
/// How much later a packet arrives than it leaves.
const DELAY: Duration = Duration::from_millis(50);
/// How long a packet may wait before it leaves; what would wait longer is lost.
const PATIENCE: Duration = Duration::from_millis(100);
const PACKET: usize = 1500;

const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PREFIX: u8 = 30;

/// The line, and the registries at its end.
#[derive(Debug)]
pub(super) struct FarLine {
    namespace: String,
    /// By HTTP/1.1, without TLS.
    plain: DockerRegistry,
    /// By HTTP/2.
    tls: DockerRegistry,
}

impl FarLine {
    /// Lays the line to two registries of the images in `storage`.
    ///
    /// # Errors
    /// It takes root, /dev/net/tun, iproute2 and docker-registry.
    pub(super) fn lay(storage: &Path) -> anyhow::Result<Self> {
        let namespace = format!("far{}", std::process::id());
        let (near, far) = (format!("{namespace}a"), format!("{namespace}b"));
        ip(&["netns", "add", &namespace])?;
        let here = device(&near)?;
        let there = device(&far)?;
        ip(&["addr", "add", &format!("{HERE}/{PREFIX}"), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&["link", "set", &far, "netns", &namespace])?;
        let inside = |words: &[&str]| ip(&[&["-n", &namespace], words].concat());
        inside(&["addr", "add", &format!("{THERE}/{PREFIX}"), "dev", &far])?;
        inside(&["link", "set", &far, "up"])?;
        inside(&["link", "set", "lo", "up"])?;
        carry(Arc::clone(&here), Arc::clone(&there));
        carry(there, here);
        let registry = |transport| {
            let storage = Some(storage.to_owned());
            let setup = Setup { transport, storage, address: HERE, ..Setup::PLAIN };
            DockerRegistry::start(&setup).context("docker-registry can't be started")
        };
        let (plain, tls) = (registry(Transport::Plain)?, registry(Transport::Tls)?);
        Ok(Self { namespace, plain, tls })
    }

    /// What a command is started by, to run at the other end.
    pub(super) fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.namespace]
    }

    /// The registries that are asked by HTTP/1.1 and by HTTP/2.
    pub(super) fn hosts(&self) -> [String; 2] {
        [self.plain.host(), self.tls.host()]
    }
}

impl Drop for FarLine {
    fn drop(&mut self) {
        // What can't be removed is only a name.
        ip(&["netns", "del", &self.namespace]).ok();
    }
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    output(&[&["ip"], words].concat()).map(drop)
}

fn device(name: &str) -> anyhow::Result<Arc<SyncDevice>> {
    ensure!(Path::new("/dev/net/tun").exists(), "/dev/net/tun is missing");
    let device = DeviceBuilder::new().name(name).enable(false).build_sync();
    Ok(Arc::new(device.context("making a TUN device")?))
}

/// Carries packets one way until the program ends.
fn carry(from: Arc<SyncDevice>, to: Arc<SyncDevice>) {
    let (sender, receiver) = channel();
    thread::spawn(move || send_off(&from, &sender));
    thread::spawn(move || deliver(&receiver, &to));
}

/// A packet, and when it arrives.
type Travelling = (Instant, Box<[u8]>);

fn send_off(from: &SyncDevice, line: &Sender<Travelling>) {
    let mut buffer = [0; PACKET];
    let mut is_free_at = Instant::now();
    while let Ok(size) = from.recv(&mut buffer) {
        let now = Instant::now();
        let leaves = departure(is_free_at, now, size);
        if leaves.saturating_duration_since(now) > PATIENCE {
            continue;
        }
        is_free_at = leaves;
        if line.send((leaves + DELAY, buffer[..size].into())).is_err() {
            break;
        }
    }
}

/// When the last byte of a packet has left that comes `now`, if the line is free then.
fn departure(is_free_at: Instant, now: Instant, size: usize) -> Instant {
    let takes = Duration::from_secs(size as u64) / RATE;
    is_free_at.max(now) + takes
}

fn deliver(line: &Receiver<Travelling>, to: &SyncDevice) {
    for (arrives, packet) in line {
        sleep(arrives.saturating_duration_since(Instant::now()));
        // A device without an owner is down.
        to.send(&packet).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_one_after_the_other_at_the_rate_of_the_line() {
        let start = Instant::now();
        let mut is_free_at = start;
        for _ in 0..RATE / 1000 {
            is_free_at = departure(is_free_at, start, 1000);
        }
        assert_eq!(is_free_at - start, Duration::from_secs(1));
        let later = start + Duration::from_secs(5);
        assert_eq!(departure(is_free_at, later, 1000) - later, Duration::from_micros(16));
    }
}
