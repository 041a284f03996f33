//! The real binary is killed under load; nothing that was answered is lost.
