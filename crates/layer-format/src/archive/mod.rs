//! Archives that other tools write.
