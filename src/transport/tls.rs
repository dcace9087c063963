//! TLS: whom the client trusts, as whom it shows itself, and what its failures mean.

mod certificate;
mod failure;
mod identity;
mod pem;
mod roots;

pub(super) use failure::explain;
pub(super) use roots::{Bundle, Roots, Shown, client_config};
