//! The parts of a cache that never change.

use crate::client::Client;
use crate::error::Error;
use crate::grant::Grant;
use crate::secret::Secret;
#[cfg(all(feature = "std", unix))]
use crate::store::Store;
use alloc::boxed::Box;
use core::time::Duration;

/// The client, the grant, the store and the hook of a cache. `renew.rs` has its methods.
pub(super) struct Fetcher {
    pub(super) client: Client,
    pub(super) grant: Grant,
    #[cfg(all(feature = "std", unix))]
    pub(super) store: Option<Store>,
    pub(super) on_new_refresh_token: Option<Box<Hook>>,
}

type Hook = dyn Fn(&Secret) -> Result<(), Error> + Send + Sync;

impl Fetcher {
    pub(super) fn new(client: Client, grant: Grant) -> Self {
        Self {
            client,
            grant,
            #[cfg(all(feature = "std", unix))]
            store: None,
            on_new_refresh_token: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.client.now()
    }
}
