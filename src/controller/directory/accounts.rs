//! Accounts, sessions and API tokens, as the API asks them of the store.

use futures_util::future::BoxFuture;

use super::unavailable;
use crate::{
    api::{auth, error::Unavailable},
    store::{
        self, Store,
        records::{AccountRecord, BearerRecord},
        worker::Worker,
    },
};

/// The store's accounts and bearers.
#[derive(Debug, Clone)]
pub struct Accounts(Worker<Box<dyn Store>>);

impl Accounts {
    pub fn new(store: Worker<Box<dyn Store>>) -> Self {
        Self(store)
    }

    fn ask<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> store::Result<R> + Send + 'static,
    ) -> BoxFuture<'_, Result<R, Unavailable>> {
        Box::pin(async move {
            let answer = self.0.run(move |store| work(&mut **store)).await;
            Ok(answer.map_err(unavailable)??)
        })
    }
}

impl auth::Accounts for Accounts {
    fn account(&self, name: String) -> BoxFuture<'_, Result<Option<AccountRecord>, Unavailable>> {
        self.ask(move |store| store.account(&name))
    }

    fn bearer(&self, secret_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<BearerRecord>, Unavailable>> {
        self.ask(move |store| store.bearer(&secret_hash))
    }

    fn insert_bearer(&self, bearer: BearerRecord) -> BoxFuture<'_, Result<(), Unavailable>> {
        self.ask(move |store| store.put_bearer(&bearer))
    }

    fn remove_bearer(&self, secret_hash: [u8; 32]) -> BoxFuture<'_, Result<(), Unavailable>> {
        self.ask(move |store| store.delete_bearer(&secret_hash).map(drop))
    }
}
