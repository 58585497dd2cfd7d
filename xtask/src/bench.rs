//! `cargo xtask bench`: release builds and real images, beside other tools doing the same bytes in the same run.
//!
//! Runs are interleaved, and what is reported is ratios of medians of wall and of CPU time, and peak memory: seconds
//! say more about the machine than about the programs.
