//! What the handlers work with.

use std::{ops::Deref, sync::Arc};

use axum::extract::FromRef;
use corridor_probes::Wall;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    auth::{Authenticator, PasswordError},
    enrol::Enrolment,
    error::ApiError,
    live::Snapshots,
};
use crate::{
    clock::Clock,
    controller::{
        Handle,
        directory::{Accounts, Directory},
    },
    identity::Ca,
    store::{self, Store, worker::Worker},
};

/// Timelines that are made at once: each reads and holds tens of megabytes.
const TIMELINES: usize = 2;

/// What an API needs of its controller.
#[derive(Debug)]
pub struct Setup {
    pub handle: Handle,
    pub store: Worker<Box<dyn Store>>,
    pub ca: Arc<Ca>,
    /// Its wall clock is the controller's time.
    pub clock: Arc<dyn Clock>,
    /// Where machines that join reach this API: `https://host:port`, without a slash at its end.
    pub public_url: String,
    /// Where edges reach the controller over QUIC, `host:port`.
    pub controller: String,
    /// Ends the live feeds, which would otherwise hold up the server's end.
    pub stop: CancellationToken,
}

/// The API's state. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ApiState(Arc<Parts>);

#[derive(Debug)]
pub struct Parts {
    pub handle: Handle,
    store: Worker<Box<dyn Store>>,
    pub directory: Directory,
    pub authenticator: Arc<Authenticator>,
    enrolment: Arc<Enrolment>,
    pub ca: Arc<Ca>,
    pub clock: Arc<dyn Clock>,
    pub public_url: String,
    pub stop: CancellationToken,
    pub snapshots: Snapshots,
    pub timelines: Semaphore,
}

impl ApiState {
    /// Hashes a password, which takes a moment.
    ///
    /// # Errors
    /// When that fails.
    pub fn new(setup: Setup) -> Result<Self, PasswordError> {
        let directory = Directory::new(setup.store.clone(), setup.handle.clone(), setup.controller);
        let accounts = Arc::new(Accounts::new(setup.store.clone()));
        let members = Arc::new(directory.clone());
        Ok(Self(Arc::new(Parts {
            authenticator: Authenticator::new(accounts, setup.clock.clone())?,
            enrolment: Enrolment::new(members, setup.ca.clone(), setup.clock.clone()),
            handle: setup.handle,
            store: setup.store,
            directory,
            ca: setup.ca,
            clock: setup.clock,
            public_url: setup.public_url,
            stop: setup.stop,
            snapshots: Snapshots::default(),
            timelines: Semaphore::new(TIMELINES),
        })))
    }
}

impl Parts {
    /// The controller's time.
    pub fn now(&self) -> Wall {
        self.clock.wall()
    }

    /// Asks the store, on its thread.
    pub async fn store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> store::Result<R> + Send + 'static,
    ) -> Result<R, ApiError> {
        Ok(self.store.run(move |store| work(&mut **store)).await??)
    }
}

impl Deref for ApiState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<ApiState> for Arc<Authenticator> {
    fn from_ref(state: &ApiState) -> Self {
        state.authenticator.clone()
    }
}

impl FromRef<ApiState> for Arc<Enrolment> {
    fn from_ref(state: &ApiState) -> Self {
        state.enrolment.clone()
    }
}
