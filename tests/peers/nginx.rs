//! The real registry behind the real nginx: its limits on what a request may carry, HTTP/2, and blobs that come from another
//! host, which takes no logins.

use kit::image::random::Random;
use kit::peers::docker_registry::{DockerRegistry, Login, PASSWORD, Setup, USER};
use kit::peers::nginx::Nginx;
use kit::registry::auth::base64;
use kit::{Codec, Image, Layer, Named, Output, Producer, Sandbox, pipeline};
use serde_json::json;

/// A registry with a login, nginx in front of it, and a sandbox that knows both.
struct Place {
    nginx: Nginx,
    sandbox: Sandbox,
    /// Lives as long as nginx needs it.
    _registry: DockerRegistry,
}

impl Place {
    fn with(largest: &str, image: &Image) -> Option<Self> {
        let setup = Setup { login: Login::Htpasswd, ..Setup::PLAIN };
        let registry = DockerRegistry::start(&setup)?;
        let nginx = Nginx::start(&registry, largest)?;
        let place = Self { nginx, sandbox: Sandbox::new(), _registry: registry };
        let named = Named::new("docker.io/library/app:1", image);
        place.sandbox.write("in", Producer::Strata.write(&[named]));
        let auth = base64(format!("{USER}:{PASSWORD}").as_bytes());
        let config = json!({ "auths": { place.nginx.host(): { "auth": auth } } });
        place.sandbox.write("../home/.docker/config.json", config.to_string());
        Some(place)
    }

    fn sh(&self, script: &str) -> Output {
        let script = pipeline::Script::new(&self.sandbox, script);
        script.with(|program| program.env("SSL_CERT_FILE", self.nginx.authority())).run()
    }

    fn n_refused(&self) -> usize {
        self.nginx.requests().iter().filter(|line| line.ends_with(" 413")).count()
    }
}

fn large() -> Image {
    let layer = Layer::new().file("noise", Random::new(1).bytes(24 << 20));
    Image::new().codec(Codec::None).layer(layer).layer(Layer::new().file("small", "small"))
}

/// containers/image#1869
#[test]
fn what_nginx_finds_too_large_goes_in_pieces_that_it_lets_through() {
    let image = large();
    for (largest, from_pipe) in [("1m", false), ("1m", true), ("10m", false), ("10m", true)] {
        let Some(place) = Place::with(largest, &image) else { return };
        let there = format!("{}/ns/app:1", place.nginx.host());
        let script = if from_pipe {
            format!("push -q - {there} < in")
        } else {
            format!("load -q < in && push -q app:1 {there}")
        };
        let output = place.sh(&script);
        let digest = image.digest();
        assert!(output.success().out().trim_end().ends_with(&digest), "{}", output.text());
        assert!((1..=2).contains(&place.n_refused()), "{:#?}", place.nginx.requests());
        let pulled = place.sh(&format!("pull -q --no-stream --store other {there}"));
        assert_eq!(pulled.success().out().trim_end(), digest, "{}", pulled.text());
    }
}

#[test]
fn blobs_come_from_a_storage_that_refuses_logins_and_over_http2() {
    let image = large();
    let Some(place) = Place::with("0", &image) else { return };
    let there = format!("{}/ns/app:1", place.nginx.host());
    place.sh(&format!("push -q - {there} < in")).success();
    for pull in ["pull -q --no-stream --store other", "pull -q --no-store --jobs 3"] {
        place.sh(&format!("{pull} {there} > out")).success();
    }
    place.sh(&format!("pull -q --no-store {there} | unpack root")).success();
    assert_eq!(place.sandbox.read("root/small"), b"small");
    let requests = place.nginx.requests();
    let redirected = requests.iter().filter(|line| line.ends_with(" HTTP/2.0 307")).count();
    assert!(redirected >= 3 * 3, "{requests:#?}");
    assert!(!requests.iter().any(|line| line.ends_with(" HTTP/2.0 400")), "{requests:#?}");
}
