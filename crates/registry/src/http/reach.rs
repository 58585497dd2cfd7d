//! How far an address lies: a stranger may not name what only this machine, or its own link, can reach.
//!
//! Registries and token servers give addresses: of redirects, of token servers, of foreign layers. One that is
//! elsewhere could make this machine ask its own services, or the metadata service of a cloud, which only it can reach
//! (docs/decisions/0018-redirects.md).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// This machine alone.
    Machine,
    /// The same link alone.
    Link,
    /// Elsewhere too; or it is a name, whose addresses are known when it is looked up.
    Beyond,
}

impl Reach {
    /// How far the host of an address lies, as far as the address itself shows.
    pub(crate) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => Self::of_address(address),
            Err(_) if host == "localhost" || host.ends_with(".localhost") => Self::Machine,
            Err(_) => Self::Beyond,
        }
    }

    /// How far an address lies.
    pub(super) fn of_address(address: IpAddr) -> Self {
        let address = embedded(address);
        let is_link = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            // fe80::/10; Amazon's metadata service has an address of its own, and no link.
            IpAddr::V6(address) => {
                let first = address.segments()[0];
                first & 0xffc0 == 0xfe80 || address.segments() == METADATA
            }
        };
        match address {
            _ if address.is_loopback() || address.is_unspecified() => Self::Machine,
            _ if is_link || address.is_multicast() => Self::Link,
            _ => Self::Beyond,
        }
    }

    /// Whether a host this far away may send us to another.
    pub(crate) fn may_name(self, other: Self) -> bool {
        other == Self::Beyond || other == self
    }
}

/// `fd00:ec2::254`.
const METADATA: [u16; 8] = [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254];

/// An address of version 4 that stands within one of version 6: mapped, compatible, or by the prefix of NAT64.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    match six.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] if high > 0 => {
            IpAddr::from(((u32::from(high) << 16) | u32::from(low)).to_be_bytes())
        }
        _ => address.to_canonical(),
    }
}

/// Looks names up, and leaves out addresses that a stranger may not name.
#[derive(Debug)]
pub(super) struct GuardedResolver;

impl GuardedResolver {
    pub(super) fn shared() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = tokio::task::spawn_blocking(move || look_up(name.as_str()));
        Box::pin(async move {
            let found = found.await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let found = (name, 0).to_socket_addrs()?;
    let allowed: Vec<_> =
        found.filter(|it| Reach::Beyond.may_name(Reach::of_address(it.ip()))).collect();
    if allowed.is_empty() {
        return Err(io::Error::other(Barred));
    }
    Ok(allowed)
}

/// All addresses of a name are such that a stranger may not name them.
#[derive(Debug, thiserror::Error)]
#[error("{NOT_FOR_STRANGERS}")]
pub(super) struct Barred;

/// The reason for refusing an address that a stranger may not name.
pub(crate) const NOT_FOR_STRANGERS: &str =
    "sent to an address that only this machine or its own link can reach; refused";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: Reach) {
        let url = format!("http://{host}/").parse().unwrap();
        assert_eq!(Reach::of(&url), expected, "{host}");
    }

    #[test]
    fn addresses_of_this_machine_are_known_in_every_spelling() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1:5000",
            "127.9.9.9",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "[::]",
            "[::1]:5000",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
        ] {
            check(host, Reach::Machine);
        }
    }

    #[test]
    fn addresses_of_the_link_are_known() {
        for host in [
            "169.254.169.254",
            "[fe80::1]",
            "[febf::1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            check(host, Reach::Link);
        }
    }

    #[test]
    fn private_networks_lie_beyond() {
        for host in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "[fd00::1]", "198.51.100.1", "r.test"]
        {
            check(host, Reach::Beyond);
        }
    }

    #[test]
    fn a_name_that_means_this_machine_is_not_found() {
        // go-containerregistry#2440: a guard that knows addresses only is passed by any name.
        assert_eq!(look_up("localhost").unwrap_err().to_string(), NOT_FOR_STRANGERS);
        assert!(look_up("198.51.100.1").is_ok());
    }

    #[test]
    fn only_who_is_there_names_what_is_there() {
        use Reach::{Beyond, Link, Machine};
        for (from, to, expected) in [
            (Beyond, Machine, false),
            (Beyond, Link, false),
            (Beyond, Beyond, true),
            (Link, Machine, false),
            (Link, Link, true),
            (Machine, Link, false),
            (Machine, Machine, true),
        ] {
            assert_eq!(from.may_name(to), expected, "{from:?} {to:?}");
        }
    }
}
