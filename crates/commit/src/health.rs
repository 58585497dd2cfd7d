//! HEALTHCHECK: its options and its command.

use serde::Serialize;

use crate::command::Command;
use crate::shell_word::Reason;

/// The shortest time that docker accepts, in nanoseconds.
const MIN_TIME: u64 = 1_000_000;

/// The `Healthcheck` object of a config. Times are in nanoseconds; 0 is the engine's default, and left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    interval: u64,
    #[serde(skip_serializing_if = "is_zero")]
    timeout: u64,
    #[serde(skip_serializing_if = "is_zero")]
    start_period: u64,
    #[serde(skip_serializing_if = "is_zero")]
    start_interval: u64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Health {
    /// Reads `[--OPTION=VALUE…] CMD command` or `NONE`.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        let mut health = Self::default();
        let mut seen = vec![];
        let mut rest = text;
        while let Some(option) = rest.strip_prefix("--") {
            let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
            rest = after.trim_start();
            let (name, value) =
                option.split_once('=').ok_or_else(|| format!("--{option} needs a value"))?;
            if seen.contains(&name) {
                return Err(format!("--{name} is given twice"));
            }
            seen.push(name);
            health.set(name, value)?;
        }
        let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match (kind.to_ascii_uppercase().as_str(), command.trim()) {
            ("NONE", "") => Ok(Self { test: vec!["NONE".to_owned()], ..Self::default() }),
            ("NONE", _) => Err("NONE takes no arguments".to_owned()),
            ("CMD", "") => Err("CMD needs a command".to_owned()),
            ("CMD", command) => {
                health.test = test(Command::parse(command)?)?;
                Ok(health)
            }
            _ => Err("needs CMD and a command, or NONE".to_owned()),
        }
    }

    /// Sets an option.
    fn set(&mut self, name: &str, value: &str) -> Result<(), Reason> {
        let time = match name {
            "interval" => &mut self.interval,
            "timeout" => &mut self.timeout,
            "start-period" => &mut self.start_period,
            "start-interval" => &mut self.start_interval,
            "retries" => {
                let is_one = |n: &u64| (1..=u64::from(u32::MAX)).contains(n);
                let n = value.parse().ok().filter(is_one);
                self.retries = n.ok_or_else(|| format!("--retries={value}: not one or more"))?;
                return Ok(());
            }
            _ => return Err(format!("no option --{name}")),
        };
        let nanos = duration(value)
            .ok_or_else(|| format!("--{name}={value}: no duration, as 30s or 1m30s"))?;
        if (1..MIN_TIME).contains(&nanos) {
            return Err(format!("--{name}={value}: less than 1ms"));
        }
        *time = nanos;
        Ok(())
    }
}

/// The `Test` array of a config.
fn test(command: Command) -> Result<Vec<String>, Reason> {
    match command {
        Command::Shell(line) => Ok(vec!["CMD-SHELL".to_owned(), line]),
        Command::Exec(words) if words.is_empty() => Err("CMD needs a command".to_owned()),
        Command::Exec(words) => Ok(std::iter::once("CMD".to_owned()).chain(words).collect()),
    }
}

/// A duration as Go writes it, `1m30s` or `1.5h`, in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(times(number, unit)?)?;
        rest = after;
    }
    let nanos = i64::try_from(nanos).ok().filter(|_| !text.is_empty())?;
    u64::try_from(nanos).ok()
}

/// A decimal number of units of `unit` nanoseconds, in nanoseconds, rounded down.
fn times(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    Some(digits.checked_mul(unit)? / 10_u128.pow(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(duration(text), expected, "{text}");
        check("0", Some(0));
        check("1m30s", Some(90_000_000_000));
        check("1.5h", Some(5_400_000_000_000));
        check(".5s", Some(500_000_000));
        check("1h0.000001ms", Some(3_600_000_000_001));
        check("0.1ns", Some(0));
        for text in ["", "5", "s", ".s", "-1s", "1x", "1.2.3s", "1s ", "3000000h", "1e3s"] {
            check(text, None);
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Health::parse(text).map(|health| serde_json::to_string(&health).unwrap());
        assert_eq!(found.as_deref(), expected.map_err(str::to_owned).as_deref(), "{text}");
    }

    #[test]
    fn options_come_before_the_command() {
        check("NONE", Ok(r#"{"Test":["NONE"]}"#));
        check("none", Ok(r#"{"Test":["NONE"]}"#));
        check("CMD curl -f x", Ok(r#"{"Test":["CMD-SHELL","curl -f x"]}"#));
        check(
            r#"--interval=1m30s  --timeout=1.5s --start-period=0 --start-interval=2s --retries=3 cmd ["a", "b"]"#,
            Ok(
                r#"{"Test":["CMD","a","b"],"Interval":90000000000,"Timeout":1500000000,"StartInterval":2000000000,"Retries":3}"#,
            ),
        );
        check("", Err("needs CMD and a command, or NONE"));
        check("foo", Err("needs CMD and a command, or NONE"));
        check("NONE x", Err("NONE takes no arguments"));
        check("CMD", Err("CMD needs a command"));
        check("CMD []", Err("CMD needs a command"));
        check("--interval CMD x", Err("--interval needs a value"));
        check("--interval=1us CMD x", Err("--interval=1us: less than 1ms"));
        check("--interval=5 CMD x", Err("--interval=5: no duration, as 30s or 1m30s"));
        check("--retries=0 CMD x", Err("--retries=0: not one or more"));
        check("--bad=1 CMD x", Err("no option --bad"));
        check("--timeout=1s --timeout=2s CMD x", Err("--timeout is given twice"));
    }
}
