//! The CA certificates that an upstream is believed by where none are configured: the host's, or, where it has none (an image of one
//! file), Mozilla's as they were when this was built. Must never mix both: who has taken a CA away from a host means it.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::RootCertStore;

/// How many certificates of the host were spoken of last; one more than there can be before anything was said.
static SAID: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Adds them. Says which they are, when that is not what was said last.
pub(super) fn add_to(roots: &mut RootCertStore) {
    let host = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(host.certs);
    let news = SAID.swap(added, Ordering::Relaxed) != added;
    if added > 0 {
        if news {
            tracing::info!("TLS: upstreams are verified by the {added} CA certificates of this host");
        }
        return;
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if news {
        let why = host.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let count = webpki_roots::TLS_SERVER_ROOTS.len();
        tracing::info!(
            "TLS: upstreams are verified by the {count} CA certificates that are built in: this host has none{why}"
        );
    }
}
