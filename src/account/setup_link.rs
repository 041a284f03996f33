//! The one-time link by which the first admin is made.

use keyward_entities::setup_link;

use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::fault::Fault;

/// Seconds that a link works.
const LIFETIME: u64 = 24 * 3600;

/// Makes a link; earlier ones that weren't used stop working.
///
/// # Errors
/// Where the database fails.
pub async fn make(app: &App) -> Result<String, Fault> {
    let now = app.clock.now();
    let token = app.random.secret()?;
    let link = setup_link::Model {
        id: app.random.uuid_v7(now)?,
        token_hash: app.secrets.token_hash.hash(token.as_bytes()).to_vec(),
        created_at: now.micros(),
        expires_at: now.plus_seconds(LIFETIME).micros(),
        used_at: None,
    };
    app.store.add_setup_link(link, app.audit_record(AuditEvent::by_cli(AuditKind::SetupLinkMade))?).await?;
    Ok(app.settings.endpoint(&format!("/setup?token={token}")))
}
