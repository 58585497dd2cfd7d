//! Are the archives what they say, and do they hold the images that went in?

use super::*;
use crate::image::random::random;
use crate::{Gzip, Image, Index, check};

fn two_names() -> Vec<Named> {
    let image = random(1, 3, 10);
    vec![
        Named::new("docker.io/library/app:1", &image),
        Named::new("ghcr.io/me/app:2", image.env(&["A=1"])),
    ]
}

fn paths(archive: &[u8]) -> Vec<String> {
    let members = crate::tarball::read(archive).unwrap();
    members.iter().map(|member| String::from_utf8(member.path.clone()).unwrap()).collect()
}

#[test]
fn every_producer_passes_the_checker_in_every_shape() {
    let images = two_names();
    let shapes = ["", "./"].into_iter().flat_map(|prefix| {
        let all = [Directories::AsProducer, Directories::Always, Directories::Never];
        all.into_iter().zip(Codec::ALL).map(move |(directories, outer)| Shape {
            prefix,
            directories,
            outer,
            trailing: vec![0; 9000],
        })
    });
    for shape in shapes {
        for producer in Producer::ALL {
            let report = check::stream(&producer.write_as(&images, &shape));
            let report = report.unwrap_or_else(|error| panic!("{producer:?} {shape:?}: {error}"));
            assert_eq!(report.names.len(), 2, "{producer:?}");
        }
    }
}

#[test]
fn our_own_stream_is_canonical_and_no_other_is() {
    for producer in Producer::ALL {
        let canonical = check::canonical(&producer.write(&two_names()));
        assert_eq!(canonical.is_ok(), producer == Producer::Strata, "{producer:?} {canonical:?}");
    }
}

#[test]
fn docker_20_links_a_layer_it_has_already_written() {
    let layer = Layer::new().file("same", "same");
    let image = Image::new().layer(&layer).layer(Layer::new().file("a", "")).layer(&layer);
    let archive = Producer::Docker24.write(&[Named::new("docker.io/library/x:1", &image)]);
    let links: Vec<_> = crate::tarball::read(&archive)
        .unwrap()
        .into_iter()
        .filter(|member| member.flag == b'2')
        .collect();
    assert_eq!(links.len(), 1);
    assert!(links[0].link.starts_with(b"../") && links[0].link.ends_with(b"/layer.tar"));
    assert_eq!(paths(&archive).last().unwrap(), "repositories");
    check::stream(&archive).unwrap();
}

#[test]
fn docker_with_containerd_leaves_out_other_platforms() {
    let here = random(1, 1, 3);
    let there = random(2, 1, 3).platform("linux/arm64");
    let index = Index::new().image(&here).image(&there).attestation(&here);
    let images = [Named::new("docker.io/library/x:1", &index)];
    let archive = Producer::DockerContainerd.write(&images);
    check::stream(&archive).unwrap_err();
    let report = check::partial(&archive).unwrap();
    assert!(report.absent.contains(&there.digest()), "{report:?}");
    check::canonical(&Producer::Strata.write(&images)).unwrap();
}

#[test]
fn odd_gzip_layers_and_docker_schema_pass() {
    let odd = Gzip { members: 2, header_crc: true, padding: 512, ..Gzip::PLAIN };
    let image = Image::new().docker().codec(Codec::Gzip(odd)).layer(Layer::new().file("a", "b"));
    check::stream(&Producer::Strata.write(&[Named::new("h/x:1", &image)])).unwrap();
}

#[test]
fn a_layout_directory_passes_the_checker() {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), &two_names());
    let report = check::layout(dir.path()).unwrap();
    assert_eq!(report.names, ["docker.io/library/app:1", "ghcr.io/me/app:2"]);
}

#[test]
fn an_extractor_that_makes_no_parents_wants_directories() {
    for (directories, works) in [(Directories::AsProducer, true), (Directories::Never, false)] {
        let dir = tempfile::tempdir().unwrap();
        let archive =
            Producer::Strata.write_as(&two_names(), &Shape { directories, ..Shape::PLAIN });
        assert_eq!(extract_without_parents(&archive, dir.path()).is_ok(), works);
    }
}
