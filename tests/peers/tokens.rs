//! The real registry behind a token server: what is signed for one scope and a short time is had anew when it is needed.

use kit::peers::docker_registry::{Login, Setup};
use kit::peers::tokens::{Lifetime, TokenServer};
use kit::{Image, Layer};

use crate::layers::small;
use crate::push::Place;

const TOKENS: Setup = Setup { login: Login::Token, ..Setup::PLAIN };

impl Place {
    fn given(&self) -> Vec<Vec<String>> {
        self.registry.tokens().map(TokenServer::given).unwrap_or_default()
    }
}

#[test]
fn push_pull_and_mount_ask_for_what_they_need() {
    let image = small(Image::new());
    let Some(place) = Place::with(&TOKENS, &image) else { return };
    place.sh(&format!("push app:1 {}", place.name("ns/app:1"))).success();
    let pull = format!("pull --no-stream --store other {}", place.name("ns/app:1"));
    assert_eq!(place.sh(&pull).success().out().trim_end(), image.digest());
    assert_eq!(place.given().last().unwrap(), &["repository:ns/app:pull"]);
    // A blob is mounted only with a token for where it comes from as well.
    let output = place.sh(&format!("push app:1 {}", place.name("other:2")));
    assert!(output.success().stderr.contains("Mounted from ns/app"), "{}", output.stderr);
    assert!(!output.stderr.contains("Pushed"), "{}", output.stderr);
    let both = |scopes: &Vec<String>| {
        scopes.contains(&"repository:other:pull,push".to_owned())
            && scopes.contains(&"repository:ns/app:pull".to_owned())
    };
    assert!(place.given().iter().any(both), "{:?}", place.given());
}

#[test]
fn a_wrong_password_is_refused_by_the_token_server() {
    let Some(place) = Place::with(&TOKENS, small(Image::new())) else { return };
    for program in ["push -q --creds-stdin app:1", "pull --no-stream --creds-stdin"] {
        let name = place.name("app:1");
        let output = place.sh(&format!("echo kit:guess | {program} {name}"));
        assert_eq!(output.pipe, [0, 6], "{}", output.text());
        assert!(!output.text().contains("guess"), "{}", output.text());
        let said = place.text(&output);
        assert!(said.contains(" was refused: no such user (UNAUTHORIZED)"), "{said}");
        assert_eq!(output.stderr.lines().count(), 2, "{said}");
    }
    assert!(place.given().is_empty(), "{:?}", place.given());
}

#[test]
fn a_push_outlives_its_tokens() {
    let big = Layer::new().file("big", vec![7; 24 << 20]);
    let image = Image::new().codec(kit::Codec::None).layer(big);
    // Told of the end, push asks before it comes; not told, when it is refused in the middle of a blob.
    for said in [true, false] {
        let Some(place) = Place::with(&TOKENS, &image) else { return };
        let tokens = place.registry.tokens().unwrap();
        tokens.set_lifetime(Lifetime { seconds: 2, said });
        let slow = "(head -c 12M in; sleep 3; tail -c +12582913 in)";
        let output = place.sh(&format!("{slow} | push -q - {}", place.name("app:1")));
        let pushed = format!("{}@{}\n", place.name("app"), image.digest());
        assert_eq!(output.success().out(), pushed);
        let for_push = |scopes: &&Vec<String>| scopes.concat() == "repository:app:pull,push";
        let n_given = tokens.given().iter().filter(for_push).count();
        assert!(n_given > 1, "{:?}", tokens.given());
        let pull = format!("pull --no-stream --store other {}", place.name("app:1"));
        assert_eq!(place.sh(&pull).success().out().trim_end(), image.digest());
    }
}
