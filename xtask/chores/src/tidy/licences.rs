//! Which licences the packages we compile may have.
//!
//! Whole expressions, compared as text: a new one is read by a person, who then adds a line.

use super::Findings;
use xtask::workspace::Workspace;

const AGREED: &[&str] = &[
    "(MIT OR Apache-2.0) AND Unicode-3.0",
    "Apache-2.0",
    "Apache-2.0 / MIT",
    "Apache-2.0 AND ISC",
    "Apache-2.0 OR ISC OR MIT",
    "Apache-2.0 OR MIT",
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    "BSD-2-Clause OR Apache-2.0 OR MIT",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT OR Apache-2.0",
    "MIT/Apache-2.0",
    "Unicode-3.0",
    "Unlicense OR MIT",
    "Zlib",
];

/// Checks every package's licence.
pub(super) fn check(workspace: &Workspace) -> Findings {
    let strange =
        workspace.licences.iter().filter(|(_, licence)| !AGREED.contains(&licence.as_str()));
    strange
        .map(|(name, licence)| {
            format!("Cargo.lock: {name} has the licence \"{licence}\": not agreed")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_that_nobody_read_is_found() {
        let licences = [("a 1.0.0", "MIT"), ("b 2.0.0", "GPL-3.0-only"), ("c 3.0.0", "")];
        let licences =
            licences.map(|(name, licence)| (name.to_owned(), licence.to_owned())).to_vec();
        let workspace = Workspace { licences, ..Workspace::default() };
        assert_eq!(
            check(&workspace),
            [
                "Cargo.lock: b 2.0.0 has the licence \"GPL-3.0-only\": not agreed",
                "Cargo.lock: c 3.0.0 has the licence \"\": not agreed",
            ]
        );
    }
}
