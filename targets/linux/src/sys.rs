//! The only unsafe code of this crate: what the operating system and lent references demand.
#![allow(unsafe_code, reason = "system calls, and a reference that crosses threads")]

pub(crate) mod bag;
pub(crate) mod futex;
pub(crate) mod map;
