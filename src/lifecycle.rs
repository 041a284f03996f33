//! Where the process is between its start and its end, for load balancers and for connections that are kept alive.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the server takes new work or is about to stop.
#[derive(Debug, Default)]
pub struct Lifecycle {
    draining: AtomicBool,
}

impl Lifecycle {
    /// From now on readiness is denied and each answer of HTTP/1 ends its connection, while requests are still served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the server is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
