//! The registries on loopback that the scenario speaks to, and the names that steps have for them.

use std::fs;

use anyhow::Context as _;
use kit::image::random::random;
use kit::peers::docker_registry::{DockerRegistry, Setup, Transport};
use kit::{Index, Registry};

use super::names::{self, NameServer};

/// A registry of ours, a real one that is spoken to by TLS, and a name server.
#[derive(Debug)]
pub(super) struct Registries {
    plain: Registry,
    tls: Option<DockerRegistry>,
    name_server: NameServer,
}

impl Registries {
    /// Starts them; without the real one, where docker-registry isn't installed.
    pub(super) fn start() -> anyhow::Result<Self> {
        let plain = Registry::start();
        let images = ["linux/amd64", "linux/s390x"].into_iter().zip(11..);
        let images = images.map(|(platform, seed)| random(seed, 2, 20).platform(platform));
        plain.add("many:1", images.fold(Index::new(), |index, image| index.image(&image)));
        let setup = Setup { transport: Transport::Tls, ..Setup::PLAIN };
        let tls = DockerRegistry::start(&setup);
        Ok(Self { plain, tls, name_server: NameServer::start()? })
    }

    /// Whether there is one that is spoken to by TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How many names were asked for.
    pub(super) fn n_names_asked(&self) -> usize {
        self.name_server.n_answers()
    }

    /// The authorities that a place must trust: that of the registry's certificate.
    pub(super) fn authorities(&self) -> anyhow::Result<Vec<u8>> {
        let authority = self.tls.as_ref().map(|tls| fs::read(tls.authority())).transpose();
        Ok(authority.context("the registry's authority")?.unwrap_or_default())
    }

    /// A step with the registries' names in it.
    pub(super) fn named_in(&self, line: &str) -> String {
        let named = |line: String, (mark, host): (&str, String)| line.replace(mark, &host);
        self.hosts().into_iter().fold(line.to_owned(), named)
    }

    /// What a program said, without what is another in each run.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        let hidden = |text: String, (mark, host): (&str, String)| text.replace(&host, mark);
        self.hosts().into_iter().fold(text.to_owned(), hidden)
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        let address = self.plain.host();
        let port = port(&address);
        let mut hosts = vec![("{names}", format!("{}:{port}", names::NAME))];
        if let Some(tls) = &self.tls {
            hosts.push(("{tls}", format!("localhost:{}", self::port(&tls.host()))));
        }
        hosts.push(("{address}", address));
        hosts
    }
}

fn port(host: &str) -> &str {
    host.rsplit_once(':').map_or("", |(_, port)| port)
}
