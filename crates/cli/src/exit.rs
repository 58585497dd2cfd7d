//! The table of exit codes: the only place with numbers.

/// How a run ended, as the caller of the program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Everything that was asked for is done.
    Done = 0,
    /// It failed for a reason that has no code of its own.
    Failed = 1,
    /// The arguments, or the way the program was called, make no sense.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// The input is not to be trusted: digest mismatch, truncated, malformed or hostile.
    Untrusted = 4,
    /// Network or registry trouble that may pass.
    Network = 5,
    /// The registry wants other credentials.
    Unauthorised = 6,
    /// The reader of our own output went away; said by the status alone, as `cat` does.
    ClosedPipe = 141,
}

impl Code {
    /// The number the process exits with.
    pub const fn status(self) -> u8 {
        self as u8
    }
}

impl From<layer_format::ErrorKind> for Code {
    /// The libraries say the kind of an error, and only this file knows numbers.
    fn from(kind: layer_format::ErrorKind) -> Self {
        use layer_format::ErrorKind;
        match kind {
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Untrusted => Self::Untrusted,
            ErrorKind::Network => Self::Network,
            ErrorKind::Unauthorised => Self::Unauthorised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_manual() {
        let codes = [
            Code::Done,
            Code::Failed,
            Code::Usage,
            Code::NotFound,
            Code::Untrusted,
            Code::Network,
            Code::Unauthorised,
            Code::ClosedPipe,
        ];
        assert_eq!(codes.map(Code::status), [0, 1, 2, 3, 4, 5, 6, 141]);
    }
}
