//! TLS: trusted roots, the client certificate, and errors.

mod certificate;
mod failure;
mod identity;
mod roots;

pub(super) use failure::explain;
pub(super) use roots::{Bundle, Roots, Shown, client_config};
