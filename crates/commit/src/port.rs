//! EXPOSE's ports and STOPSIGNAL's signals, checked here because a container engine refuses wrong ones only when it starts the
//! container.

use crate::shell_word::Reason;

/// The ports of one word, each in the form that a config has: `80/tcp`.
pub(crate) fn ports(text: &str) -> Result<Vec<String>, Reason> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(format!("{text}: the protocol must be tcp, udp or sctp")),
    };
    // Docker accepts, and ignores, the port of the host in front.
    let range = range.rsplit_once(':').map_or(range, |(_, container)| container);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |digits: &str| digits.parse::<u16>().ok().filter(|_| !digits.starts_with('+'));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => {
            Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
        }
        _ => Err(format!("{text}: neither a port nor a range of ports")),
    }
}

/// Linux's signals, without `SIG`.
const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether there is such a signal, by name or number.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let is_near =
        |digits: &str, most: u8| digits.parse().is_ok_and(|n: u8| (1..=most).contains(&n));
    SIGNALS.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(|digits| is_near(digits, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|digits| is_near(digits, 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_protocols_and_ranges() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(ports(text).unwrap_or_default(), expected, "{text}");
        };
        check("80", &["80/tcp"]);
        check("53/UDP", &["53/udp"]);
        check("80/", &["80/tcp"]);
        check("8000-8002/sctp", &["8000/sctp", "8001/sctp", "8002/sctp"]);
        check("127.0.0.1:8080:80", &["80/tcp"]);
        for text in ["", "x", "99999", "5-3", "80/foo", "-1", "+1", "1-", "1-2-3"] {
            check(text, &[]);
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["SIGTERM", "TERM", "kill", "9", "64", "RTMIN+3", "SIGRTMAX-2", "RTMIN"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["", "0", "65", "NOPE", "SIG", "RTMIN+16", "RTMAX-0", "-9"] {
            assert!(!is_signal(text), "{text}");
        }
    }
}
