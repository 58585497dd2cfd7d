//! `cargo xtask demo`: the main job, on a registry it starts and an image it makes.
//!
//! Every command is shown as a user would type it, and that very line runs, in a directory of its own that is
//! removed at the end. Nothing but loopback is used. The first line that fails ends the demo with status 1.

mod image;
mod terminal;

use anyhow::ensure;

use crate::run::{run, say};
use crate::workspace::Workspace;

use terminal::Terminal;

/// What the shell inside the image is asked to do.
const VISIT: &str =
    r#"cat /etc/motd; . /etc/os-release; echo "$PRETTY_NAME, $(uname -m)"; ls /var/log"#;

/// Ways into a directory as root or as a plain user; the first that this machine allows is taken.
const WAYS_IN: &[&str] = &["chroot", "unshare -r chroot"];

/// Builds the programs and shows them.
pub fn demo() -> anyhow::Result<()> {
    run(&["cargo", "build", "--bin", "pull", "--bin", "unpack"])?;
    let terminal = Terminal::open(&Workspace::read()?.target.join("debug"))?;
    let registry = kit::Registry::start();
    registry.add("demo:latest", &image::image()?);
    tour(&terminal, &format!("{}/demo", registry.host()))
}

fn tour(terminal: &Terminal, name: &str) -> anyhow::Result<()> {
    say(&format!(
        "# {name} is an image of this machine's shell and a few tools, in {} layers.",
        image::N_LAYERS
    ));
    say("# From the registry to a root file system, in one pass:");
    terminal.run(&format!("pull {name} | unpack rootfs"))?;

    say("# It runs; the top layer replaced one file and removed another:");
    let seen = terminal.read(&visit(terminal))?;
    ensure!(seen.contains(image::MOTD_ABOVE.trim_end()), "etc/motd is not the top layer's");
    ensure!(!seen.contains(image::REMOVED), "{} is still there", image::REMOVED);

    say("# Once more: what the store has is not fetched again.");
    let again = terminal.read(&format!("pull --no-stream {name}"))?;
    ensure!(again.contains("Already exists"), "the second pull fetched layers again");
    say("# On a machine with internet, `pull alpine | unpack rootfs` is the same thing.");
    Ok(())
}

/// The command line that looks at the unpacked image, from inside where that is allowed.
fn visit(terminal: &Terminal) -> String {
    match WAYS_IN.iter().find(|way| terminal.works(&format!("{way} / true"))) {
        Some(way) => format!("{way} rootfs /bin/sh -c '{VISIT}'"),
        None => "cat rootfs/etc/motd rootfs/etc/os-release; ls rootfs/var/log".to_owned(),
    }
}
