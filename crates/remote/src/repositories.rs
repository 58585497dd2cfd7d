//! `remote repositories`: the catalog of a registry, where there is one.

use cli::{Code, Failure, Io};
use registry::{Client, Error};
use serde_json::json;

use crate::names::HostName;
use crate::page::{self, Line};

/// Lists the repositories of a registry by the names under which images lie there.
pub(crate) fn list(
    host: &HostName,
    is_json: bool,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let registry = client.registry(host.as_str())?;
    let task = io.progress.task(host.as_str(), None);
    task.state("Listing repositories");
    let listed = registry.repositories();
    drop(task);
    let mut paths = match listed {
        Ok(Some(paths)) => paths,
        Ok(None) => {
            let text = format!("{}: this registry doesn't list its repositories", host.as_str());
            return Err(Failure::new(Code::NotFound, text).hint(elsewhere(host)).into());
        }
        // Harbor lists them for its administrators (harbor#7898), Docker Hub for nobody (genuinetools/reg#86).
        Err(error @ Error::Unauthorised { .. }) => {
            let own = error.hint();
            let failure = Failure::from_cause(error).hint(elsewhere(host));
            return Err(own.into_iter().fold(failure, Failure::hint).into());
        }
        Err(error) => return Err(error.into()),
    };
    paths.sort_by(|left, right| cli::order::natural(left, right));
    paths.dedup();
    let lines: Vec<_> = paths.iter().map(|path| line(host, path)).collect();
    page::write(&lines, is_json, &mut io.output)
}

/// Where people find what the registry doesn't list.
fn elsewhere(host: &HostName) -> &'static str {
    match host.as_str() {
        "docker.io" => "Docker Hub lists repositories at hub.docker.com alone",
        _ => {
            "many registries list repositories on their web pages alone, or for administrators; \
             remote tags REPO lists the tags of one"
        }
    }
}

fn line(host: &HostName, path: &str) -> Line {
    let name = format!("{}/{path}", host.as_str());
    Line { json: json!({ "repository": &name }), cells: vec![name] }
}
