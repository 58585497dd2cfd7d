//! What is special about a single host: containerd's `ca`, `client`, `header` and `dial_timeout`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, HOST, HeaderName, HeaderValue, RANGE,
    TRANSFER_ENCODING,
};
use toml::Value;

use crate::base::{CertificateFile, HostTls, Secret, one_line};

/// Headers that say how a message is to be read. No file may set them.
const OURS: [HeaderName; 6] =
    [CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, HOST, RANGE, TRANSFER_ENCODING];

/// What is special about one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostConfig {
    /// Its certificates.
    pub(crate) tls: HostTls,
    /// Headers that are sent with each request to the host itself, and nowhere else.
    pub(crate) headers: Vec<(HeaderName, Secret)>,
    /// How long a connection to it may take to be made.
    pub(crate) connect: Option<Duration>,
}

/// What is special, for people, without the headers' values.
impl fmt::Display for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.tls.0.iter().map(|file| match file {
            CertificateFile::Authority(path) => {
                format!("authorities in {}", one_line(&path.display().to_string()))
            }
            CertificateFile::Identity { certificate, .. } => {
                format!("certificate {}", one_line(&certificate.display().to_string()))
            }
        });
        let headers = self.headers.iter().map(|(name, _)| format!("header {name}"));
        f.write_str(&files.chain(headers).collect::<Vec<_>>().join(", "))
    }
}

/// The values as they stand in a file.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub(super) struct HostToml {
    ca: Option<Value>,
    client: Option<Value>,
    header: Option<Value>,
    dial_timeout: Option<String>,
}

impl HostToml {
    /// Makes sense of the values; paths are relative to the file's directory `dir`.
    ///
    /// # Errors
    ///
    /// The reason doesn't quote what may be a secret.
    pub(super) fn config(&self, dir: &Path) -> Result<HostConfig, &'static str> {
        let wrong = "ca is neither a path nor a list of paths";
        let authorities = self.ca.as_ref().map_or_else(|| Ok(vec![]), |it| texts(it, wrong))?;
        let authorities =
            authorities.into_iter().map(|path| CertificateFile::Authority(dir.join(path)));
        let identities = self.client.as_ref().map_or_else(|| Ok(vec![]), identities)?;
        let identities = identities.into_iter().map(|(certificate, key)| {
            let key = if key.is_empty() { certificate } else { key };
            CertificateFile::Identity { certificate: dir.join(certificate), key: dir.join(key) }
        });
        let files = authorities.chain(identities).collect();
        let connect = self
            .dial_timeout
            .as_deref()
            .map(|text| duration(text).ok_or("dial_timeout is no time, as 1s or 500ms"))
            .transpose();
        let headers = self.header.as_ref().map_or_else(|| Ok(vec![]), headers)?;
        Ok(HostConfig { tls: HostTls(files), headers, connect: connect? })
    }
}

/// A text, or a list of them.
fn texts<'a>(value: &'a Value, wrong: &'static str) -> Result<Vec<&'a str>, &'static str> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(texts) => texts.iter().map(|it| it.as_str().ok_or(wrong)).collect(),
        _ => Err(wrong),
    }
}

/// A file with certificate and key, a list of such files, or of pairs of files. Without a file for it, the key is
/// empty.
fn identities(value: &Value) -> Result<Vec<(&str, &str)>, &'static str> {
    let wrong = "client is neither a path nor a list of paths or pairs of paths";
    match value {
        Value::String(file) => Ok(vec![(file, "")]),
        Value::Array(entries) => {
            let identity = |entry| match texts(entry, wrong)?[..] {
                [certificate] if entry.is_str() => Ok((certificate, "")),
                [certificate, key] => Ok((certificate, key)),
                _ => Err(wrong),
            };
            entries.iter().map(identity).collect()
        }
        _ => Err(wrong),
    }
}

fn headers(value: &Value) -> Result<Vec<(HeaderName, Secret)>, &'static str> {
    let Value::Table(table) = value else { return Err("header is no table") };
    let mut headers = vec![];
    for (name, value) in table {
        let name: HeaderName = name.parse().map_err(|_| "a header with a malformed name")?;
        if OURS.contains(&name) {
            return Err("a header that is not for a file to set");
        }
        for text in texts(value, "a header that is neither a text nor a list of texts")? {
            if HeaderValue::from_str(text).is_err() {
                return Err("a header with a malformed value");
            }
            headers.push((name.clone(), Secret::new(text)));
        }
    }
    Ok(headers)
}

/// A time in Go's notation: `1s`, `1m30s`, `1.5s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<HostConfig, &'static str> {
        toml::from_str::<HostToml>(text).unwrap().config(Path::new("/etc/x"))
    }

    #[test]
    fn authorities_are_a_path_or_several() {
        let check = |text: &str, expected: &[&str]| {
            let expected = expected.iter().map(|path| CertificateFile::Authority(path.into()));
            assert_eq!(config(text).unwrap().tls.0, expected.collect::<Vec<_>>(), "{text}");
        };
        check("", &[]);
        check(r#"ca = "ca.pem""#, &["/etc/x/ca.pem"]);
        check(r#"ca = ["/a.pem", "sub/b.pem"]"#, &["/a.pem", "/etc/x/sub/b.pem"]);
        for text in ["ca = 7", "ca = [7]"] {
            assert_eq!(config(text).unwrap_err(), "ca is neither a path nor a list of paths");
        }
    }

    #[test]
    fn certificates_are_shown_with_the_key_in_their_file_or_beside_it() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected = expected.iter().map(|(certificate, key)| CertificateFile::Identity {
                certificate: certificate.into(),
                key: key.into(),
            });
            assert_eq!(config(text).unwrap().tls.0, expected.collect::<Vec<_>>(), "{text}");
        };
        let both = ("/etc/x/me.pem", "/etc/x/me.pem");
        check(r#"client = "me.pem""#, &[both]);
        check(r#"client = ["me.pem", "/b.pem"]"#, &[both, ("/b.pem", "/b.pem")]);
        let pairs = r#"client = [["a.cert", "/k/a.key"], ["me.pem", ""]]"#;
        check(pairs, &[("/etc/x/a.cert", "/k/a.key"), both]);
        for text in ["client = 7", r#"client = [["a"]]"#, r#"client = [["a","b","c"]]"#] {
            assert!(config(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_a_text_or_several_and_never_quoted() {
        let found = config("[header]\nx-a = \"hunter2\"\nX-B = [\"1\", \"2\"]").unwrap();
        let shown: Vec<_> =
            found.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(shown, [("x-a", "hunter2"), ("x-b", "1"), ("x-b", "2")]);
        assert!(!format!("{found:?} {found}").contains("hunter2"));
        for text in [
            "header = \"hunter2\"",
            "[header]\n\"hunter2 x\" = \"a\"",
            "[header]\nx = \"hunter2\\n\"",
            "[header]\nx = 7",
            "[header]\nHost = \"hunter2\"",
        ] {
            assert!(!config(text).unwrap_err().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_go_writes_them() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration(text).map(|it| it.as_millis()), expected.map(u128::from), "{text}");
        };
        check("1s", Some(1000));
        check("500ms", Some(500));
        check("1m30s", Some(90_000));
        check("1.5h", Some(5_400_000));
        for text in ["", "1", "s", "0s", "-1s", "1x", "1.1.1s", "1s2"] {
            check(text, None);
        }
    }
}
