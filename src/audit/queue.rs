//! The queue of failures and refusals, and the task that writes them in batches.

use std::sync::Arc;

use keyward_entities::audit_event;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::store::Store;

/// Items that are taken at once.
const BATCH: usize = 200;
/// Pause before rows that could not be written are tried again, in milliseconds.
const PAUSE: u64 = 1000;

/// The way into the trail for what has no transaction of its own.
#[derive(Debug, Clone)]
pub struct AuditQueue(mpsc::Sender<Item>);

#[derive(Debug)]
enum Item {
    Event(Box<audit_event::Model>),
    Flush(oneshot::Sender<()>),
}

impl AuditQueue {
    /// A queue of this length, and the task that empties it until the queue is dropped.
    pub fn start(store: Arc<Store>, clock: Clock, length: usize) -> Self {
        let (sender, receiver) = mpsc::channel(length.max(1));
        tokio::spawn(write(store, clock, receiver));
        Self(sender)
    }

    /// Adds an event; waits while the queue is full.
    pub async fn push(&self, event: audit_event::Model) {
        if self.0.send(Item::Event(Box::new(event))).await.is_err() {
            tracing::error!("an audit event came after the end of the trail's writer");
        }
    }

    /// Waits until all that was added before is written.
    pub async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.0.send(Item::Flush(sender)).await.is_err() || receiver.await.is_err() {
            tracing::error!("the trail's writer ended before the queue was empty");
        }
    }
}

async fn write(store: Arc<Store>, clock: Clock, mut receiver: mpsc::Receiver<Item>) {
    let mut items = Vec::new();
    while receiver.recv_many(&mut items, BATCH).await > 0 {
        let (mut rows, mut waiting) = (Vec::new(), Vec::new());
        for item in items.drain(..) {
            match item {
                Item::Event(row) => rows.push(*row),
                Item::Flush(sender) => waiting.push(sender),
            }
        }
        // While the database is away the rows are kept, and a full queue slows the callers.
        while !rows.is_empty()
            && let Err(fault) = store.write_audit(rows.clone()).await
        {
            tracing::error!(error = %fault, events = rows.len(), "audit events could not be written");
            if !matches!(fault, Fault::Unavailable(_) | Fault::Undone(_) | Fault::Overloaded(_)) {
                break;
            }
            clock.sleep_millis(PAUSE).await;
        }
        for sender in waiting {
            // Who no longer waits needs no answer.
            let _ = sender.send(());
        }
    }
}
