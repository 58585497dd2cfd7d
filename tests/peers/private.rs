//! What is private in an image is private from its first moment: the modes that its files and directories are made with, as
//! strace sees them. Whoever opened one of them meanwhile would keep it.

use kit::peers::root_peer;
use kit::pipeline::sh;
use kit::{Image, Layer, Named, Sandbox};

/// What a line of the trace makes beneath a half-made tree, and with which mode.
fn made(line: &str) -> Option<(&str, u32)> {
    let call = line.split_once(' ')?.1.trim_start();
    let (name, arguments) = call.split_once('(')?;
    let is_made = match name {
        "openat" => arguments.contains("O_CREAT"),
        "mkdirat" | "mknodat" => true,
        _ => false,
    };
    let (arguments, _) = arguments.split_once(") = ").filter(|_| is_made)?;
    let is_in_tree = arguments.split_once('>')?.0.contains(".strata-");
    let (path, rest) = arguments.split_once('"')?.1.split_once('"')?;
    let mode = rest.split(|c: char| ", |".contains(c)).find(|word| is_octal(word))?;
    is_in_tree.then_some((path, u32::from_str_radix(mode, 8).ok()?))
}

fn is_octal(word: &str) -> bool {
    word.starts_with('0') && word.bytes().all(|byte| (b'0'..b'8').contains(&byte))
}

#[test]
fn as_root_what_is_private_is_never_made_open() {
    if root_peer("strace").is_none() {
        return;
    }
    let base = Layer::text(
        r#"
        drwx------ 0:0 ./
        -rw------- 0:0 becomes-directory "x"
        drwx------ 0:0 becomes-file/
        -r-------- 7:8 owned "x"
        -rws--x--- 7:8 special "x"
        ---------- 0:0 nobody "x"
        d--------- 0:0 closed/
        -rw------- 0:0 closed/in "x" user.a="1"
        drwx------ 0:0 d/
        prw------- 0:0 d/fifo
        crw------- 0:0 d/null 1,3
        "#,
    );
    let top = Layer::text(
        r#"
        drwx------ 0:0 becomes-directory/
        -rw------- 0:0 becomes-directory/in "y"
        -rw------- 0:0 becomes-file "y"
        drwx------ 0:0 d/
        drwx------ 0:0 d/new/
        "#,
    );
    let sandbox = Sandbox::new();
    let image = Image::new().layer(base).layer(top);
    sandbox.load(&[Named::new("docker.io/library/app:1", image)]);
    let calls = "trace=openat,open,creat,mkdirat,mkdir,mknodat,mknod";
    let script =
        format!("strace -f -y -qq -o trace -e {calls} -e signal=none unpack -q --from app:1 root");
    sh(&sandbox, &script).success();
    let trace = String::from_utf8_lossy(&sandbox.read("trace")).into_owned();
    let made: Vec<_> = trace.lines().filter_map(made).collect();
    for name in ["tree", "becomes-directory", "becomes-file", "owned", "in", "fifo", "null", "new"]
    {
        assert!(made.iter().any(|(path, _)| *path == name), "{name} isn't among {made:?}");
    }
    let open: Vec<_> = made
        .iter()
        .filter(|(path, mode)| mode & if *path == "special" { 0o67 } else { 0o77 } != 0)
        .collect();
    assert!(open.is_empty(), "{open:?}");
}
