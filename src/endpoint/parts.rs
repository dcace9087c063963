//! The parts of an endpoint that a request is built from.

use super::{Endpoint, Method, Parameters, Refresh, Revocation};
use crate::error::Error;
use crate::field::Field;
use crate::grant::Grant;
use crate::template::Template;
use crate::url::UrlTemplate;

impl Endpoint {
    /// Returns how the request with this grant is described, and whether the client authenticates in it: a refresh may have
    /// a description of its own.
    pub(crate) fn block(&self, grant: &Grant) -> (&Self, bool) {
        match &self.refresh {
            Refresh::Block { endpoint, authenticates, .. } if grant.is_refresh() => (endpoint, *authenticates),
            _ => (self, true),
        }
    }

    /// Returns the headers of a request that `block` describes. This endpoint's secret ones are in it too, unless it has its
    /// own: no description holds them.
    pub(crate) fn headers_in<'e>(&'e self, block: &'e Self) -> impl Iterator<Item = &'e Field> {
        let is_other = |field: &Field| block.headers.iter().all(|own| !own.name.eq_ignore_ascii_case(&field.name));
        let secret = self.headers.iter().filter(|field| field.secret_source().is_some());
        block.headers.iter().chain(secret.filter(move |field| is_other(field)))
    }

    /// Returns the grant that renews a token, as the description has it; None where the original grant is to be used.
    pub(crate) fn renewal(&self, refresh_token: Option<&str>, token: Option<&str>) -> Option<Grant> {
        // The store keeps a refresh token longer than the token that came with it.
        let token = token.filter(|token| !token.is_empty());
        match &self.refresh {
            Refresh::Never => None,
            Refresh::Standard => refresh_token.map(|refresh_token| Grant::renewal(Some(refresh_token), None)),
            Refresh::Block { with_token: true, .. } if refresh_token.is_some() => None,
            Refresh::Block { with_token: true, .. } => token.map(|token| Grant::renewal(None, Some(token))),
            Refresh::Block { endpoint, .. } if token.is_none() && endpoint.names_variable("token") => None,
            Refresh::Block { .. } => refresh_token.map(|refresh_token| Grant::renewal(Some(refresh_token), token)),
        }
    }

    /// Returns whether a template of the request names this variable.
    pub(crate) fn names_variable(&self, wanted: &str) -> bool {
        let mut found = false;
        self.templates(&mut |template| template.names(&mut |name| found |= name == wanted));
        found
    }

    /// Calls `each` with the templates of parameters, headers and query.
    pub(crate) fn templates(&self, each: &mut dyn FnMut(&Template)) {
        for field in self.extra.iter().chain(&self.headers) {
            field.templates(&mut |template| each(template));
        }
        if let Some(query) = self.template.as_ref().and_then(UrlTemplate::query) {
            each(query);
        }
    }

    /// Returns whether a refresh token can be ended as well.
    pub(crate) fn revokes_refresh_tokens(&self) -> bool {
        matches!(self.revocation, Some(Revocation::Endpoint(_)))
    }

    /// Refuses a body with `GET`: a secret that was meant for a body must not get lost, nor into a log of URLs.
    pub(crate) fn check_method(&self) -> Result<(), Error> {
        match (self.method, self.parameters) {
            (Method::Get, Parameters::Form | Parameters::Json) => {
                Err(Error::config("`params`: with GET they can only go into the query")
                    .with_hint("leave `params` out, or use POST"))
            }
            _ => Ok(()),
        }
    }
}
