//! Checks passwords on a thread of its own: their hashes take tens of milliseconds each, which the cores that relay do not have. Each
//! pair of user and password is checked once; afterwards its outcome is known.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::super::call::Rejection;
use super::AuthError;
use super::gate::refused;
use super::source::Source;
use super::users::Users;
use crate::config::UserSource;
use crate::grpc::Code;
use crate::limits::{AUTH_VERIFYING_MAX, AUTH_WAIT_MAX};
use crate::stats::RejectReason;

/// The users of a receiver, and the way to the thread, which ends when this is dropped.
pub(super) struct Passwords {
    users: Source<Arc<Users>>,
    jobs: Sender<Job>,
}

struct Job {
    users: Arc<Users>,
    credentials: Vec<u8>,
    done: oneshot::Sender<bool>,
}

impl Passwords {
    /// Reads the users and starts the thread.
    pub(super) fn new(config: &UserSource) -> Result<Self, AuthError> {
        let inline = config.inline.clone();
        let make = move |texts: &[String]| {
            let mut named: Vec<_> = texts.iter().map(|text| ("the file of users", text.as_str())).collect();
            named.extend(inline.as_ref().map(|inline| ("the inline users", inline.reveal())));
            Users::read(&named).map(Arc::new)
        };
        let users = Source::new(config.file.iter().cloned().collect(), Box::new(make))?;
        let (jobs, waiting) = bounded(AUTH_VERIFYING_MAX);
        let thread = std::thread::Builder::new().name("relay-auth".to_owned());
        thread.spawn(move || work(&waiting)).map_err(AuthError::Thread)?;
        Ok(Self { users, jobs })
    }

    /// Judges a user and a password with a colon between. `Some` if it has to be waited for.
    pub(super) fn check(&self, credentials: &[u8]) -> Result<Option<Verifying>, Rejection> {
        let users = self.users.with(Arc::clone);
        match users.known(credentials) {
            Some(true) => Ok(None),
            Some(false) => Err(refused()),
            None => {
                let (done, verified) = oneshot::channel();
                let job = Job { users, credentials: credentials.to_vec(), done };
                self.jobs.try_send(job).map_err(|_| busy())?;
                Ok(Some(Verifying(verified)))
            }
        }
    }
}

fn work(waiting: &Receiver<Job>) {
    while let Ok(Job { users, credentials, done }) = waiting.recv() {
        // Its sender has gone.
        if done.is_closed() {
            continue;
        }
        done.send(users.verify(&credentials)).ok();
    }
}

/// What becomes of a call's password.
#[derive(Debug)]
pub(crate) struct Verifying(oneshot::Receiver<bool>);

impl Verifying {
    /// Resolves when it is known, after [`AUTH_WAIT_MAX`] at the most.
    ///
    /// # Errors
    /// The password is wrong, or is still not known to be.
    pub(crate) async fn verified(self) -> Result<(), Rejection> {
        match tokio::time::timeout(AUTH_WAIT_MAX, self.0).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(refused()),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

fn busy() -> Rejection {
    let message = "too many new credentials wait to be checked; retry later";
    Rejection::new(RejectReason::QueueFull, Code::UNAVAILABLE, message)
}
