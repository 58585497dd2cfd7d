//! Certificates of an authority of one test, made with openssl.

use std::path::Path;

use super::daemon::bare;
use super::{find, skip};
use crate::or_panic::OrPanic as _;

/// What a certificate of the authority in the same directory has.
const LEAF: [&str; 6] =
    ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];

/// Makes an authority (`ca.crt`), and under it the certificates of a server on loopback (`tls.crt`, `tls.key`) and of a
/// client (`client.crt`, `client.key`).
pub(super) fn make(dir: &Path) -> Option<()> {
    certificate(dir, "ca", &["-addext", "keyUsage=critical,keyCertSign"])?;
    let names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
    certificate(dir, "tls", &[LEAF.as_slice(), &names].concat())?;
    let client = ["-addext", "extendedKeyUsage=clientAuth"];
    certificate(dir, "client", &[LEAF.as_slice(), &client].concat())
}

/// Makes a key (`tokens.key`, RSA) and its certificate (`tokens.crt`), which signs itself.
pub(super) fn signer(dir: &Path) -> Option<()> {
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"];
    let out = ["-subj", "/CN=kit tokens", "-keyout", "tokens.key", "-out", "tokens.crt"];
    openssl(dir, &[request.as_slice(), &out].concat())?;
    Some(())
}

fn certificate(dir: &Path, name: &str, more: &[&str]) -> Option<()> {
    let key = format!("{name}.key");
    let subject = format!("/CN=kit {name}");
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let out = ["-nodes", "-days", "3650", "-subj", &subject, "-keyout", &key];
    openssl(dir, &[&request, out.as_slice(), &["-out", &format!("{name}.crt")], more].concat())?;
    Some(())
}

/// What openssl prints, run in a directory; nothing, with a line that says so, when it is not there or fails.
pub(super) fn openssl(dir: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let Some(program) = find("openssl") else {
        skip("no openssl", "certificates are made with it");
        return None;
    };
    let output = bare(&program, dir).args(args).output().or_panic("run openssl");
    if !output.status.success() {
        skip("openssl makes no certificate", &String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(output.stdout)
}
