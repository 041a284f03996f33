//! The queue of failures and refusals, and the task that writes them in batches.

use std::sync::Arc;

use keyward_entities::audit_event;
use tokio::sync::mpsc;

use crate::store::Store;

/// Rows that one transaction takes.
const BATCH: usize = 200;

/// The way into the trail for what has no transaction of its own.
#[derive(Debug, Clone)]
pub struct AuditQueue(mpsc::Sender<audit_event::Model>);

impl AuditQueue {
    /// A queue of this length, and the task that empties it; the task ends when the queue is dropped.
    pub fn start(store: Arc<Store>, length: usize) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel(length.max(1));
        let writer = tokio::spawn(async move {
            let mut waiting: Vec<audit_event::Model> = Vec::new();
            while receiver.recv_many(&mut waiting, BATCH).await > 0 {
                let rows = std::mem::take(&mut waiting);
                let count = rows.len();
                if let Err(fault) = store.write_audit(rows).await {
                    tracing::error!(error = %fault, events = count, "audit events could not be written");
                }
            }
        });
        (Self(sender), writer)
    }

    /// Adds an event; waits while the queue is full.
    pub async fn push(&self, event: audit_event::Model) {
        if self.0.send(event).await.is_err() {
            tracing::error!("an audit event came after the end of the trail's writer");
        }
    }
}
