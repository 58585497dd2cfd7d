//! `remote login` and `logout`: a login is asked for, tried, and kept where docker's and podman's users have theirs.

mod file;
mod question;

use std::path::Path;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Code, Explain as _, Failure, Io};
use registry::{Credentials, Error, Login, LoginCheck, LoginFiles, LoginHelper, LoginKey};

use crate::names::LoginName;
use question::Answer;
pub(crate) use question::Question;

/// Asks for a login, tries it, and keeps it.
pub(crate) fn log_in(
    name: &LoginName,
    question: &Question<'_>,
    network: &network::Flags,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let Answer { who, login } = question.ask(io)?;
    let host = name.host().to_owned();
    let client =
        network.client_with(Credentials::none().with(&host, login.clone()), &io.progress)?;
    let task = io.progress.task(host.as_str(), None);
    task.state("Logging in");
    let checked = client.registry(&host).and_then(|registry| registry.check_login());
    drop(task);
    network::tell(&client, checked.is_err(), io);
    match checked.map_err(|error| refusal(error, &host, &who))? {
        LoginCheck::Accepted => {}
        LoginCheck::NotWanted => {
            io.warn(&format!("{host} asks for no login, so this one could not be tried"));
        }
    }
    let files = LoginFiles::given(network.authfile.as_ref());
    let place = keep(&name.key(), &files, &login)?;
    let way = if matches!(login, Login::Password { .. }) { "as" } else { "with" };
    io.say(&format!("logged in to {} {way} {who}; kept in {place}", name.as_str()));
    warn_of_others(name, network, &place, io)
}

/// Forgets a login wherever our programs would find it.
pub(crate) fn log_out(
    name: &LoginName,
    network: &network::Flags,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let key = name.key();
    let files = LoginFiles::given(network.authfile.as_ref());
    let mut places: Vec<String> = vec![];
    for helper in files.helpers(&key)? {
        if helper.erase(cli::interrupt::requested)? {
            places.push(helper.name().to_owned());
        }
    }
    for path in files.consulted() {
        let edit = |json: &[u8], place: &str| registry::without_login(json, place, &key);
        if path.exists() && file::rewrite(path, edit).with_context(|| clean_path(path))? {
            places.push(path.display().to_string());
        }
    }
    let left = credentials(network)?.source_of(&key)?;
    if places.is_empty() && left.is_none() {
        let text = format!("{}: no login is kept for it", name.as_str());
        return Err(Failure::new(Code::NotFound, text).into());
    }
    for place in places {
        io.say(&format!("logged out of {}: removed from {place}", name.as_str()));
    }
    if let Some(place) = left {
        let text = format!("{}: {place} has a login still", name.as_str());
        return Err(Failure::new(Code::Failed, text).into());
    }
    Ok(())
}

/// Keeps a login by the first helper that is named for it, else in the first file that can be written. Gives back where.
fn keep(key: &LoginKey, files: &LoginFiles, login: &Login) -> anyhow::Result<String> {
    if let Some(helper) = files.helpers(key)?.first() {
        return by_helper(helper, login);
    }
    let paths = files.written();
    let (last, others) =
        paths.split_last().context("HOME is not set: name a file by --authfile")?;
    let edit = |json: &[u8], place: &str| registry::with_login(json, place, key, login).map(Some);
    for path in others {
        // Without a runtime directory of one's own, as in cron, the configuration's will do.
        if file::make_directory(path).is_ok() {
            return in_file(path, edit);
        }
    }
    let kept = file::make_directory(last).with_context(|| clean_path(last));
    kept.and_then(|()| in_file(last, edit)).hint("--authfile FILE keeps the login in another file")
}

fn by_helper(helper: &LoginHelper, login: &Login) -> anyhow::Result<String> {
    helper.store(login, cli::interrupt::requested).map_err(|error| {
        Failure::from_cause(error).hint("--authfile FILE keeps the login in a file instead")
    })?;
    Ok(helper.name().to_owned())
}

fn in_file(
    path: &Path,
    edit: impl Fn(&[u8], &str) -> Result<Option<Vec<u8>>, Error>,
) -> anyhow::Result<String> {
    file::rewrite(path, edit).with_context(|| clean_path(path))?;
    Ok(path.display().to_string())
}

/// Where logins are looked for by all other verbs and programs.
fn credentials(network: &network::Flags) -> anyhow::Result<Credentials> {
    Ok(Credentials::given(network.authfile.as_ref(), None, &[])?)
}

/// Warns of another login that comes before the one that was kept.
fn warn_of_others(
    name: &LoginName,
    network: &network::Flags,
    place: &str,
    io: &Io<'_>,
) -> anyhow::Result<()> {
    match credentials(network)?.source_of(&name.key())? {
        Some(first) if first != place => {
            let host = name.as_str();
            io.warn(&format!(
                "{first} has another login for {host}, which is used before this one"
            ));
        }
        _ => {}
    }
    Ok(())
}

/// The error of a login that was tried.
fn refusal(error: Error, host: &str, who: &str) -> anyhow::Error {
    let Error::Unauthorised { said, .. } = &error else { return error.into() };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let text = format!("{host}: the login of {who} was refused{said}");
    Failure::new(Code::Unauthorised, text)
        .hint("many registries want an access token in the place of the password")
        .into()
}
